// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// A Service has the port as its NodePort: the event names it, and the pod starts by
// itself when the Service goes.
func TestNodePortFirst(t *testing.T) {
	s := beside(t)
	s.run("backend", spec())
	s.nodePort("shop", "backend", 30070)
	s.answers(node.V4+":30070", "backend")
	s.create("web", spec("30070"))
	s.refused("web", "hostPort 30070/tcp is taken", "NodePort of Service "+s.ns+"/shop")
	says(t, "explain", s.portguard("explain", "30070/tcp"), "Service "+s.ns+"/shop", "would be refused (code 102)")
	want(t, "the NodePort", s.name(client, "tcp", node.V4+":30070"), "backend")
	s.must(the.CoreV1().Services(s.ns).Delete(s.Context(), "shop", metav1.DeleteOptions{}))
	s.running("web")
	s.answers(node.V4+":30070", "web")
}

// A Service that takes the NodePort later wins, and everybody who asks is told.
func TestNodePortLater(t *testing.T) {
	s := beside(t)
	s.run("backend", spec())
	s.run("web", spec("30071"))
	want(t, "before there is a Service", s.name(client, "tcp", node.V4+":30071"), "web")
	s.nodePort("shop", "backend", 30071)
	s.answers(node.V4+":30071", "backend")
	e := s.entry(30071)
	want(t, "state", e.State, "shadowed")
	says(t, "list", e.Reason, "Service "+s.ns+"/shop")
	says(t, "explain", s.portguard("explain", "30071/tcp"), "Service "+s.ns+"/shop", "pod "+s.ns+"/web")
	says(t, "doctor", s.portguard("doctor"), "Service "+s.ns+"/shop")
	s.must(the.CoreV1().Services(s.ns).Delete(s.Context(), "shop", metav1.DeleteOptions{}))
	s.answers(node.V4+":30071", "web")
	want(t, "state without the Service", s.entry(30071).State, "ok")
}

// The IP of a LoadBalancer may be the node's, as with k3s: there the Service wins, and
// the pod has the other addresses.
func TestLoadBalancer(t *testing.T) {
	s := beside(t)
	s.run("backend", spec())
	s.loadBalancer("shop", "backend", 8090)
	s.answers(node.V4+":8090", "backend")
	s.run("web", spec("8090"))
	want(t, "the Service's address", s.name(client, "tcp", node.V4+":8090"), "backend")
	want(t, "another address", s.name(client, "tcp", "["+node.V6+"]:8090"), "web")
	says(t, "explain", s.portguard("explain", "8090/tcp"), "Service "+s.ns+"/shop", "pod "+s.ns+"/web")
	if e := s.entry(8090); e.State != "shadowed" {
		t.Errorf("list says %+v", e)
	}
}

// The scheduler and the kubelet take :: for one address. The second pod is past both, and
// its event names the first one.
func TestPastTheScheduler(t *testing.T) {
	s := beside(t)
	s.run("first", spec("[::]:7060"))
	s.create("second", spec("["+node.V6+"]:7060"))
	s.refused("second", "7060/tcp is taken", "pod "+s.ns+"/first", "hostPort")
	want(t, "the port", s.name(client, "tcp", "["+node.V6+"]:7060"), "first")
	s.remove("first")
	s.running("second")
	want(t, "the port later", s.name(client, "tcp", "["+node.V6+"]:7060"), "second")
}

// loadBalancer makes a Service whose IP is the node's.
func (s *story) loadBalancer(name, pods string, port int32) {
	s.Helper()
	v := s.service(name, pods, corev1.ServiceSpec{
		Type:  corev1.ServiceTypeLoadBalancer,
		Ports: []corev1.ServicePort{{Name: "http", Port: port}},
	})
	v.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: node.V4}}
	_, err := the.CoreV1().Services(s.ns).UpdateStatus(s.Context(), v, metav1.UpdateOptions{})
	s.must(err)
}

// answers waits until that one answers. A Service takes kube-proxy a second.
func (s *story) answers(addr, name string) {
	s.Helper()
	s.until(name+" answers at "+addr, func() bool { return s.name(client, "tcp", addr) == name })
}

// entry is the line of a port in "portguard list".
func (s *story) entry(port int) (found entry) {
	s.Helper()
	for _, e := range s.list() {
		if e.Port == port && (found.State == "" || found.State == "ok") {
			found = e
		}
	}
	return found
}
