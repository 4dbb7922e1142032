// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// What Kubernetes itself asks of hostPorts.
func TestConformance(t *testing.T) {
	s := beside(t)
	s.must(the.Import(t.Context(), "agnhost.tar"))
	cmd := exec.Command(the.Bin+"/conformance.test", "-test.run=TestConformance", "-kubeconfig="+node.Kubeconfig, "-provider=skeleton", "-ginkgo.no-color",
		"-ginkgo.focus=HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+node.Kubeconfig)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.Errorf("%v\n%s", err, out)
	}
	says(s, "the test", string(out), "1 Passed", "0 Failed")
	s.until("its pods are gone", func() bool {
		return !slices.ContainsFunc(s.list(), func(e entry) bool { return strings.HasPrefix(e.Pod, "hostport-") })
	})
}

// Everybody reaches the pod, and it sees who asks.
func TestTraffic(t *testing.T) {
	s := beside(t)
	web := s.run("web", spec("8080", "8080/udp", "127.0.0.1:8081"))
	other := s.run("other", spec(node.V4+":8082", "["+node.V6+"]:8083"))
	for _, network := range []string{"tcp", "udp"} {
		want(t, "from outside, "+network+"4", s.who(client, network, node.V4+":8080"), "web "+node.ClientV4)
		want(t, "from outside, "+network+"6", s.who(client, network, "["+node.V6+"]:8080"), "web "+node.ClientV6)
		for _, addr := range []string{node.V4 + ":8080", "[" + node.V6 + "]:8080", "127.0.0.1:8080"} {
			want(t, "from the node, "+network+" "+addr, s.name(onNode(), network, addr), "web")
		}
		for who, from := range map[string]*corev1.Pod{"another pod": other, "itself": web} {
			want(t, "from "+who+", "+network+"4", s.name(s.inPod(from), network, node.V4+":8080"), "web")
			want(t, "from "+who+", "+network+"6", s.name(s.inPod(from), network, "["+node.V6+"]:8080"), "web")
		}
	}
	want(t, "hostIP 127.0.0.1 from the node", s.name(onNode(), "tcp", "127.0.0.1:8081"), "web")
	want(t, "hostIP 127.0.0.1 from outside", s.name(client, "tcp", node.V4+":8081"), "")
	want(t, "hostIP of the node, v4", s.who(client, "tcp", node.V4+":8082"), "other "+node.ClientV4)
	want(t, "hostIP of the node, v6", s.who(client, "tcp", "["+node.V6+"]:8083"), "other "+node.ClientV6)
	want(t, "hostIP of the other family", s.name(client, "tcp", node.V4+":8083"), "")
	want(t, "a port of nobody", s.name(client, "tcp", node.V4+":8084"), "")
}
