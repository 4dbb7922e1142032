// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

func portName(port int) string { return fmt.Sprint(port) }

// kube-proxy changes its mode under running pods, and back: they keep their ports, its
// NodePorts keep theirs.
func TestProxyChangesMode(t *testing.T) {
	s := begin(t)
	s.run("web", spec("7400"))
	s.run("backend", spec())
	s.nodePort("shop", "backend", 30074)
	other := map[string]string{"iptables": "nftables", "nftables": "iptables"}[the.Proxy]
	for i, mode := range []string{other, the.Proxy} {
		s.must(the.SwitchProxy(s.Context(), mode))
		s.answers(node.V4+":30074", "backend")
		s.alone("web", 7400)
		taken := fmt.Sprint("taken-", i)
		s.create(taken, spec("30074"))
		s.refused(taken, "NodePort of Service "+s.ns+"/shop")
		s.remove(taken)
		later := fmt.Sprint("later-", i)
		s.run(later, spec(fmt.Sprint(7401+i)))
		s.alone(later, 7401+i)
		s.alone("web", 7400)
	}
}

// Somebody flushes the rules. Commands say so; the next ADD of anybody puts back what
// lives, or restore does.
func TestFlush(t *testing.T) {
	s := begin(t)
	s.run("web", spec("7410", "7410/udp"))
	s.flush(func() bool { return s.entry(7410).State == "missing" })
	s.run("next", spec("7411"))
	s.alone("web", 7410)
	s.alone("next", 7411)

	s.flush(func() bool {
		said := s.portguard("restore")
		return strings.Contains(said, "restored pod "+s.ns+"/web") && strings.Contains(said, "restored pod "+s.ns+"/next")
	})
	s.alone("web", 7410)
	s.alone("next", 7411)
	want(t, "udp", s.name(client, "udp", node.V4+":7410"), "web")

	// portguard's rules are in a table of their own, and stay. kube-proxy's jumps come back
	// when it is started again: it looks for a chain of its own, which is still there.
	s.onNode("iptables", "-t", "nat", "-F")
	s.onNode("ip6tables", "-t", "nat", "-F")
	s.alone("web", 7410)
	s.alone("next", 7411)
	s.must(the.SwitchProxy(s.Context(), the.Proxy))
	s.alone("web", 7410)
}

// flush flushes the rules and asks what is said then: again, if meanwhile somebody else has
// healed them. The kubelet has DELs of its own for what is long gone.
func (s *story) flush(said func() bool) {
	s.Helper()
	s.until("the port is away after a flush, and that is said", func() bool {
		s.onNode("nft", "flush", "ruleset")
		return s.name(client, "tcp", node.V4+":7410") == "" && said()
	})
}

func (s *story) onNode(command ...string) {
	s.Helper()
	if out, err := the.Exec(command...); err != nil {
		s.Fatalf("%v: %v: %s", command, err, out)
	}
}
