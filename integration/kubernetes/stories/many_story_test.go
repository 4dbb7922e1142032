// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// A hundred pods at once, while the bridge plugin and kube-proxy change rules all the
// time: all start, no later than with portmap, and nothing stays.
func TestManyAtOnce(t *testing.T) {
	const pods = 100
	s := begin(t)
	took := map[string]time.Duration{}
	s.besidePortmap(func(plugin string) {
		start := time.Now()
		for i := range pods {
			s.create(fmt.Sprintf("%s-%d", plugin, i), spec(fmt.Sprint(20000+i)))
		}
		s.until("all run", func() bool { return s.readyPods() == pods })
		took[plugin] = time.Since(start)
		for i := 0; i < pods; i += 9 {
			addr := fmt.Sprintf("%s:%d", node.V4, 20000+i)
			want(t, addr, s.name(client, "tcp", addr), fmt.Sprintf("%s-%d", plugin, i))
		}
	})
	t.Logf("%d pods run after %v, with portmap after %v", pods, took["portguard"], took["portmap"])
	for _, e := range s.events("") {
		if strings.HasPrefix(e, "FailedCreatePodSandBox") {
			t.Errorf("an event says: %s", e)
		}
	}
	// Two runs of the same differ by some percent.
	if limit := took["portmap"] + took["portmap"]/5; took["portguard"] > limit {
		t.Errorf("%d pods run after %v, with portmap after %v", pods, took["portguard"], took["portmap"])
	}
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
