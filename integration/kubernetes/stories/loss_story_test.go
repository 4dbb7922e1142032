// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// Somebody kills the process that keeps the pod's namespaces. The kubelet makes a new
// sandbox, which gets the port.
func TestSandboxKilled(t *testing.T) {
	s := begin(t)
	web := s.run("web", spec("7200"))
	sandbox := s.processes(web)[0]
	s.must(syscall.Kill(sandbox, syscall.SIGKILL))
	s.until("there is a new sandbox", func() bool {
		now := s.pod("web")
		return now != nil && ready(now) && now.Status.PodIP != web.Status.PodIP
	})
	s.alone("web", 7200)
	s.notTaken()
}

// containerd and the kubelet are killed and started again under a running pod.
func TestRuntimeKilled(t *testing.T) {
	s := begin(t)
	s.run("web", spec("7201"))
	s.must(the.Signal("kubelet", syscall.SIGKILL))
	s.must(the.Signal("containerd", syscall.SIGKILL))
	want(t, "the port without them", s.name(client, "tcp", node.V4+":7201"), "web")
	s.must(the.StartContainerd(s.Context()))
	s.must(the.StartKubelet(s.Context()))
	s.run("other", spec("7202"))
	s.alone("web", 7201)
	s.alone("other", 7202)
	s.notTaken()
}

// A pod is deleted while the runtime is down: nothing of it stays, and its port is free.
func TestDeletedMeanwhile(t *testing.T) {
	s := begin(t)
	s.run("web", spec("7203"))
	s.must(the.Signal("containerd", syscall.SIGKILL))
	s.must(the.CoreV1().Pods(s.ns).Delete(s.Context(), "web", metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))}))
	s.create("next", spec("7203"))
	s.must(the.StartContainerd(s.Context()))
	s.runsSoon("next")
	s.until("only the next one is there", func() bool { return len(s.list()) == s.lines("next") })
	s.alone("next", 7203)
}

// The node loses its power and comes back with its disk, and then with an empty one.
// Nobody is refused because of the dead.
func TestPowerLoss(t *testing.T) {
	for _, disk := range []string{"kept", "wiped"} {
		t.Run(disk, func(t *testing.T) {
			s := begin(t)
			web := s.run("web", spec("7204"))
			the.PowerOff()
			want(t, "the port without power", s.name(client, "tcp", node.V4+":7204"), "")
			if disk == "wiped" {
				s.must(the.Wipe("containerd", "etc", "opt", "var"))
			}
			s.must(the.Boot(s.Context()))
			s.must(the.Restart(s.Context()))
			s.answers(node.V4+":7204", web.Name)
			s.must(the.Ready(s.Context()))
			s.running("web")
			s.run("other", spec("7205"))
			s.alone("web", 7204)
			s.alone("other", 7205)
			s.notTaken()
		})
	}
}

// alone asks that a pod has the port, and that nobody else is said to have it.
func (s *story) alone(pod string, port int) {
	s.Helper()
	for _, e := range s.list() {
		if e.Port == port && (e.Pod != s.ns+"/"+pod || e.State != "ok") {
			s.Errorf("list says of port %d: %+v", port, e)
		}
	}
	if s.entry(port).Pod == "" {
		s.Errorf("list does not have port %d", port)
	}
	addr := node.V4 + ":" + portName(port)
	want(s, addr, s.name(client, "tcp", addr), pod)
}

// lines counts what list says of a pod.
func (s *story) lines(pod string) (n int) {
	for _, e := range s.list() {
		if e.Pod == s.ns+"/"+pod {
			n++
		}
	}
	return n
}

// notTaken asks that no pod was refused.
func (s *story) notTaken() {
	s.Helper()
	for _, e := range s.events("") {
		if strings.Contains(e, "is taken") {
			s.Errorf("an event says: %s", e)
		}
	}
}
