// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
)

// want compares an answer.
func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// unchanged compares the rule set with what it was.
func unchanged(t *testing.T, n *lab.Node, before string) {
	t.Helper()
	if d := cmp.Diff(before, n.Rules()); d != "" {
		t.Errorf("rules differ from before (-before +after):\n%s", d)
	}
}

// A dual-stack pod is reached from everywhere a hostPort should be reachable
// from, and not at all after DEL.
func TestMapping(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		pod, neighbour := n.NewPod("web"), n.NewPod("neighbour")
		pod.Serve(80, "web")
		n.MustAdd(neighbour, list)
		before := n.Rules()
		ports := []lab.Port{lab.TCP(8080, 80), lab.UDP(8080, 80)}
		n.MustAdd(pod, list, ports...)

		v4, v6 := net.JoinHostPort(lab.NodeV4, "8080"), net.JoinHostPort(lab.NodeV6, "8080")
		for _, proto := range []string{"tcp", "udp"} {
			want(t, proto+" from outside keeps the client's address", n.Client.Get(proto+"4", v4), "web "+lab.ClientV4)
			want(t, proto+" from outside, IPv6", n.Client.Get(proto+"6", v6), "web "+lab.ClientV6)
			want(t, proto+" from the node", n.Who(proto+"4", v4), "web")
			want(t, proto+" from the node, IPv6", n.Who(proto+"6", v6), "web")
			want(t, proto+" through localhost", n.Who(proto+"4", "127.0.0.1:8080"), "web")
			want(t, proto+" hairpin", pod.Who(proto+"4", v4), "web")
			want(t, proto+" hairpin, IPv6", pod.Who(proto+"6", v6), "web")
			want(t, proto+" from a neighbour", neighbour.Who(proto+"4", v4), "web")
			want(t, proto+" from a neighbour, IPv6", neighbour.Who(proto+"6", v6), "web")
		}
		if err := n.Check(pod, list, ports...); err != nil {
			t.Errorf("CHECK: %v", err)
		}

		if err := n.Del(pod, list, ports...); err != nil {
			t.Fatalf("DEL: %v", err)
		}
		want(t, "from outside after DEL", n.Client.Who("tcp4", v4), "")
		want(t, "route_localnet after DEL", n.ReadSysctl("net/ipv4/conf/cni0/route_localnet"), "0")
		unchanged(t, n, before)
		if files := n.StateFiles(); len(files) > 0 {
			t.Errorf("state left after DEL: %v", files)
		}
	})
}

// Only traffic to local addresses is mapped.
func TestForwardedTrafficIsLeftAlone(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		n.Client.ServeTCP("tcp", ":53", "remote dns")
		pod, other := n.NewPod("dns"), n.NewPod("other")
		pod.Serve(53, "pod")
		list := n.Network("net", "46", nil)
		n.MustAdd(other, list)
		n.MustAdd(pod, list, lab.TCP(53, 53), lab.UDP(53, 53))
		want(t, "pod to a remote port 53", other.Who("tcp4", lab.ClientV4+":53"), "remote")
		want(t, "node to a remote port 53", n.Who("tcp4", lab.ClientV4+":53"), "remote")
	})
}

func TestHostIP(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		n.Run("ip", "addr", "add", "192.0.2.9/24", "dev", "eth0")
		list := n.Network("net", "46", nil)
		a, b := n.NewPod("a"), n.NewPod("b")
		a.Serve(80, "a")
		b.Serve(80, "b")
		n.MustAdd(a, list, lab.TCP(80, 80).On(lab.NodeV4), lab.TCP(81, 80).On("0.0.0.0"), lab.TCP(82, 80).On("::"))
		n.MustAdd(b, list, lab.TCP(80, 80).On("192.0.2.9"))
		want(t, "first address", n.Client.Who("tcp4", lab.NodeV4+":80"), "a")
		want(t, "second address", n.Client.Who("tcp4", "192.0.2.9:80"), "b")
		want(t, "IPv6", n.Client.Who("tcp6", "["+lab.NodeV6+"]:80"), "")
		want(t, "0.0.0.0 over IPv4", n.Client.Who("tcp4", "192.0.2.9:81"), "a")
		want(t, "0.0.0.0 over IPv6", n.Client.Who("tcp6", "["+lab.NodeV6+"]:81"), "")
		want(t, ":: over IPv4", n.Client.Who("tcp4", lab.NodeV4+":82"), "")
		want(t, ":: over IPv6", n.Client.Who("tcp6", "["+lab.NodeV6+"]:82"), "a")
	})
}

// A specific address of the same pod wins over its wildcard.
func TestOwnOverlap(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		pod := n.NewPod("a")
		pod.Serve(80, "any")
		pod.Serve(81, "one")
		n.MustAdd(pod, list, lab.TCP(8080, 80), lab.TCP(8080, 81).On(lab.NodeV4), lab.TCP(8080, 80))
		want(t, "the specific address", n.Client.Who("tcp4", lab.NodeV4+":8080"), "one")
		want(t, "another address", n.Who("tcp4", "127.0.0.1:8080"), "any")
	})
}

func TestHundredMappings(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		pod := n.NewPod("many")
		pod.Serve(80, "many")
		before := n.Rules()
		var ports []lab.Port
		for i := range 100 {
			ports = append(ports, lab.TCP(20000+i, 80), lab.UDP(20000+i, 80))
		}
		n.MustAdd(pod, list, ports...)
		for _, p := range []string{"20000", "20014", "20015", "20099"} {
			want(t, "tcp "+p, n.Client.Who("tcp4", net.JoinHostPort(lab.NodeV4, p)), "many")
			want(t, "udp "+p, n.Client.Who("udp6", net.JoinHostPort(lab.NodeV6, p)), "many")
			want(t, "hairpin "+p, pod.Who("tcp4", net.JoinHostPort(lab.NodeV4, p)), "many")
		}
		if err := n.Check(pod, list, ports...); err != nil {
			t.Errorf("CHECK: %v", err)
		}
		if err := n.Del(pod, list, ports...); err != nil {
			t.Fatalf("DEL: %v", err)
		}
		if rules := n.Rules(); strings.Contains(rules, "PORTGUARD") || strings.Contains(rules, "PG") {
			t.Errorf("rules left:\n%s", cmp.Diff(before, rules))
		}
	})
}
