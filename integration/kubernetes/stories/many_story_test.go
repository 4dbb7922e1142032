// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// A hundred pods of a Service at once, while the bridge plugin changes rules for each of them,
// and kube-proxy for all that are ready: all start, no later than with portmap, and nothing
// stays.
func TestManyAtOnce(t *testing.T) {
	const pods = 100
	s := begin(t)
	took := map[string]time.Duration{}
	// What else a machine does takes time from one and not from the other. It never gives
	// any: a run that says no is asked again, and the shortest of each are compared.
	later := true
	for range 3 {
		shortest(took, "portguard", s.many("portguard", pods))
		s.removeAll()
		s.hostportsBy("portmap")
		shortest(took, "portmap", s.many("portmap", pods))
		s.newNode()
		t.Logf("%d pods run after %v, with portmap after %v", pods, took["portguard"], took["portmap"])
		// Two runs of the same differ by some percent.
		if later = took["portguard"] > took["portmap"]+took["portmap"]/5; !later {
			break
		}
	}
	if later {
		t.Errorf("%d pods run after %v, with portmap after %v", pods, took["portguard"], took["portmap"])
	}
	s.noneFailed()
}

// many starts pods and returns when all of them are ready, and how long that took.
func (s *story) many(plugin string, pods int) time.Duration {
	s.Helper()
	s.nodePort("many", "many", 30079)
	start := time.Now()
	for i := range pods {
		m := meta("many")
		m.Name = fmt.Sprintf("%s-%d", plugin, i)
		s.createAs(m, spec(fmt.Sprint(20000+i)))
	}
	s.until("all run", func() bool { return s.readyPods() == pods })
	took := time.Since(start)
	for i := 0; i < pods; i += 9 {
		addr := fmt.Sprintf("%s:%d", node.V4, 20000+i)
		want(s, addr, s.name(client, "tcp", addr), fmt.Sprintf("%s-%d", plugin, i))
	}
	return took
}

// newNode takes the power from the node and gives it an empty disk: pods that nobody asks about
// are gone at once, and to delete a hundred of them takes longer than to start them.
func (s *story) newNode() {
	s.Helper()
	the.PowerOff()
	s.must(the.Wipe("containerd", "etc", "opt", "var"))
	s.must(the.Boot(s.Context()))
	s.must(the.CoreV1().Pods(s.ns).DeleteCollection(s.Context(), metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))}, metav1.ListOptions{}))
	the.Plugin = "portguard"
	s.must(the.Restart(s.Context()))
	s.must(the.Ready(s.Context()))
	s.removeAll() // the Service, too
}

func (s *story) readyPods() (n int) {
	list, err := the.CoreV1().Pods(s.ns).List(s.Context(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return 0
	}
	for i := range list.Items {
		if ready(&list.Items[i]) {
			n++
		}
	}
	return n
}
