// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"io"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// A pod on the host's network has the port: the event names it, and the other one starts
// by itself when it goes.
func TestHolderFirst(t *testing.T) {
	s := beside(t)
	s.run("holder", onHost("7000"))
	s.create("web", spec("7000"))
	s.refused("web", "hostPort 7000/tcp is taken", "pod "+s.ns+"/holder", "listens on")
	want(t, "the port", s.name(client, "tcp", node.V4+":7000"), node.Name)
	says(t, "explain", s.portguard("explain", "7000/tcp"), "pod "+s.ns+"/holder")
	s.remove("holder")
	s.running("web")
	want(t, "the port after the holder went", s.name(client, "tcp", node.V4+":7000"), "web")
}

// The other way round: who comes later is told, or explain and list tell.
func TestHolderLater(t *testing.T) {
	s := beside(t)
	s.run("web", spec("7001", "7001/udp"))
	later := s.create("later", onHost("7001"))
	if s.reserves() {
		var log string
		s.until("the log of the second pod says why it ended", func() bool {
			log = s.log(later)
			return log != ""
		})
		says(t, "the log", log, "address already in use")
		// The process is gone by now, but its pod is there.
		for _, command := range [][]string{{"explain", "7001"}, {"list"}, {"doctor"}} {
			says(t, command[0], s.portguard(command...), "pod "+s.ns+"/web holds 7001/udp; a bind was refused", "last to server (pid ", ", pod "+s.ns+"/later)")
		}
	} else {
		s.running("later")
		says(t, "explain", s.portguard("explain", "7001"), "pod "+s.ns+"/web", "pod "+s.ns+"/later")
	}
	for _, network := range []string{"tcp", "udp"} {
		want(t, network, s.name(client, network, node.V4+":7001"), "web")
	}
}

// reserves reports whether binds of others are refused on this node.
func (s *story) reserves() bool {
	var list struct{ Reservation struct{ On bool } }
	s.ask(&list, "list")
	return list.Reservation.On
}

// log is what a pod's container wrote, this one or the one before.
func (s *story) log(p *corev1.Pod) string {
	for _, previous := range []bool{false, true} {
		r, err := the.CoreV1().Pods(s.ns).GetLogs(p.Name, &corev1.PodLogOptions{Previous: previous}).Stream(s.Context())
		if err != nil {
			continue
		}
		b, _ := io.ReadAll(r)
		_ = r.Close()
		if len(b) > 0 {
			return string(b)
		}
	}
	return ""
}
