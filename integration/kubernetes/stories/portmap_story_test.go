// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// What portmap does in the stories of holder_story_test.go and services_story_test.go: all pods
// run and are ready, one of two has the traffic, and no event says so.
func TestWithPortmap(t *testing.T) {
	s := begin(t)
	defer s.hostportsBy("portguard")
	s.hostportsBy("portmap")
	s.nodePort("shop", "backend", 30075)
	s.loadBalancer("balanced", "backend", 8091)
	s.runAll(map[string]corev1.PodSpec{
		"holder": onHost("7510"), "edge": spec("7511"), "first": spec("[::]:7512"), "backend": spec(), "before": spec("30076"),
	})
	want(t, "the holder's port", s.name(client, "tcp", node.V4+":7510"), node.Name)
	for _, port := range []string{"30075", "8091"} {
		s.answers(node.V4+":"+port, "backend")
	}

	// Others want the same ports.
	s.nodePort("late", "backend", 30076)
	s.runAll(map[string]corev1.PodSpec{
		"web": spec("7510"), "later": onHost("7511"), "second": spec("[" + node.V6 + "]:7512"), "db": spec("30075"), "mail": spec("8091"),
	})
	for _, c := range []struct {
		what, addr string
		gets       []string
	}{
		{"a pod on the host network loses to a hostPort", node.V4 + ":7510", []string{"web"}},
		{"one that comes later gets nothing", node.V4 + ":7511", []string{"edge"}},
		{"nor does a second hostPort", "[" + node.V6 + "]:7512", []string{"first"}},
		{"a NodePort, then a hostPort", node.V4 + ":30075", service("db")},
		{"a hostPort, then a NodePort", node.V4 + ":30076", service("before")},
		{"a LoadBalancer, then a hostPort", node.V4 + ":8091", service("mail")},
	} {
		if got := s.name(client, "tcp", c.addr); !slices.Contains(c.gets, got) {
			t.Errorf("%s: got %s, want %v", c.what, got, c.gets)
		}
	}
	s.noneFailed()
	s.notTaken()
}

// service is who may have a port of a Service that is the hostPort of a pod, too: the Service.
// In nftables mode it is either: their chains have the same priority.
func service(pod string) []string {
	if the.Proxy == "nftables" {
		return []string{"backend", pod}
	}
	return []string{"backend"}
}

// runAll makes pods at once and waits until they run.
func (s *story) runAll(pods map[string]corev1.PodSpec) {
	s.Helper()
	for name, spec := range pods {
		s.create(name, spec)
	}
	for name := range pods {
		s.running(name)
	}
}
