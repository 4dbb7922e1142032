// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// GC, as the runtime's library calls it: what no container has is removed, and the pods
// that there are keep their ports. Before CNI 1.1 there is none.
func TestGC(t *testing.T) {
	s := begin(t)
	s.run("web", spec("7900"))
	s.onNode("ip", "netns", "add", "ghost")
	s.onNode("cni", "add", "ghost", "/run/netns/ghost", "7901")
	s.onNode("ip", "netns", "del", "ghost")
	s.onNode("sh", "-c", "rm /var/lib/cni/results/*ghost*") // nothing but GC can tell by now
	want(t, "what nobody removed", s.entry(7901).State, "owner dead")

	gc := []string{"cni", "gc"}
	cri := s.cri()
	defer cri.Close()
	sandboxes, err := cri.ListPodSandbox(s.Context(), &runtimeapi.ListPodSandboxRequest{})
	s.must(err)
	for _, sandbox := range sandboxes.Items {
		gc = append(gc, sandbox.Id)
	}
	s.onNode(gc...)
	left := map[string]string{"1": "owner dead", "2": ""}[the.Containerd]
	want(t, "what GC left", s.entry(7901).State, left)
	s.alone("web", 7900)
	s.portguard("gc")
	want(t, "what gc left", s.entry(7901).State, "")
	want(t, "the pod's port", s.name(client, "tcp", node.V4+":7900"), "web")
}
