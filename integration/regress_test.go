// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// bare is a configuration without runtimeConfig and prevResult.
func bare(n *lab.Node) string {
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","type":"portguard","dataDir":"%s/state"}`, n.Dir)
}

func mustCall(t *testing.T, n *lab.Node, verb string, p *lab.Pod, conf string) {
	t.Helper()
	if out, errs, err := n.Call(verb, p, conf); err != nil {
		t.Fatalf("%s: %v %s %s", verb, err, out, errs)
	}
}

// A pod whose link is gone with it blocks nobody.
func TestVanishedLink(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		dead, pod := n.NewPod("dead"), n.NewPod("web")
		link(n, dead)
		mustCall(t, n, "ADD", dead, direct(n, dead, `[{"hostPort":81,"containerPort":80}]`, ""))
		n.Run("ip", "link", "del", "pod0")
		dead.Delete()
		link(n, pod)
		mustCall(t, n, "ADD", pod, direct(n, pod, mapping, ""))
		mustCall(t, n, "DEL", pod, bare(n))
		mustCall(t, n, "DEL", dead, bare(n))
		unchanged(t, n, "")
	})
}

// A dual-stack owner that died leaves nothing to an IPv4-only heir.
func TestTakeOverInBothFamilies(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		dead, heir := n.NewPod("dead"), n.NewPod("heir")
		mustCall(t, n, "ADD", dead, direct(n, dead, mapping, ""))
		dead.Delete()
		only4 := strings.Replace(direct(n, heir, mapping, ""), `,{"address":"fd00:88::77/64","interface":0}`, "", 1)
		mustCall(t, n, "ADD", heir, only4)
		if rules := n.Rules(); strings.Contains(rules, "fd00:88::77") {
			t.Errorf("rules of the dead are left:\n%s", rules)
		}
		mustCall(t, n, "DEL", heir, bare(n))
		unchanged(t, n, "")
	})
}

// Nor does one leave what the heir has not asked for, in a family where it found the
// ports free.
func TestTakeOverOfOtherPorts(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		dead, heir := n.NewPod("dead"), n.NewPod("heir")
		mustCall(t, n, "ADD", n.NewPod("other"), direct(n, dead, `[{"hostPort":7,"containerPort":7}]`, ""))
		others := n.Rules()
		mustCall(t, n, "ADD", dead, direct(n, dead, `[{"hostIP":"0.0.0.0","hostPort":8080,"containerPort":80},{"hostIP":"::","hostPort":9090,"containerPort":80}]`, ""))
		dead.Delete()
		mustCall(t, n, "ADD", heir, direct(n, heir, `[{"hostPort":8080,"containerPort":80}]`, ""))
		if rules := n.Rules(); strings.Contains(rules, dead.ID) {
			t.Errorf("rules of the dead are left:\n%s", rules)
		}
		mustCall(t, n, "DEL", heir, bare(n))
		unchanged(t, n, others)
	})
}

// Rules that send the traffic elsewhere and are easy to overlook.
func TestHardToSeeRules(t *testing.T) {
	n := newNode(t, "iptables", "nft")
	for _, tc := range []struct{ name, load, undo, says string }{
		{"behind a conditional RETURN and an ACCEPT", `iptables-legacy -t nat -N X
			iptables-legacy -t nat -A PREROUTING -j X
			iptables-legacy -t nat -A X -s 192.0.2.0/24 -j RETURN
			iptables-legacy -t nat -A X -j ACCEPT
			iptables-legacy -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.9.9.9:1`,
			"iptables-legacy -t nat -F; iptables-legacy -t nat -X X", "10.9.9.9:1"},
		{"IPv6 UNICAST is a local address too", `ip6tables-legacy -t nat -A PREROUTING -m addrtype --dst-type UNICAST -p tcp --dport 80 -j DNAT --to-destination [fd00::9]:1`,
			"ip6tables-legacy -t nat -F", "[fd00::9]:1"},
		{"for an address that only a local route has", `ip route add local 198.51.100.0/24 dev lo
			iptables-legacy -t nat -A PREROUTING -d 198.51.100.7 -p tcp --dport 80 -j DNAT --to-destination 10.9.9.9:1`,
			"iptables-legacy -t nat -F; ip route del local 198.51.100.0/24 dev lo", "198.51.100.7"},
		{"through a set with ports", `ipset create S hash:ip,port
			ipset add S 192.0.2.1,tcp:80
			iptables-legacy -t nat -A PREROUTING -p tcp -m set --match-set S dst,dst -j DNAT --to-destination 10.9.9.9:1`,
			"iptables-legacy -t nat -F; ipset destroy S", "--match-set S"},
		{"a native rule that iptables-nft shows without its verdict", `iptables-nft -t nat -N FOO
			iptables-nft -t nat -A PREROUTING -p udp -j RETURN
			nft add rule ip nat PREROUTING tcp dport vmap { 80 : jump FOO }`,
			"nft flush chain ip nat PREROUTING", "native nftables rules"},
		{"with a comment that looks like an option", `iptables-nft -t nat -A PREROUTING -p tcp --dport 80 -m comment --comment=-p -j DNAT --to-destination 10.9.9.9:1`,
			"iptables-nft -t nat -F PREROUTING", "10.9.9.9:1"},
		{"with a line break in a comment, nft", "iptables-nft -t nat -A PREROUTING -p tcp --dport 80 -m comment --comment 'a\n-A POSTROUTING -m comment --comment \"b' -j DNAT --to-destination 10.9.9.9:1",
			"iptables-nft -t nat -F PREROUTING", "10.9.9.9:1"},
		{"with a line break in a comment, legacy", "iptables-legacy -t nat -A PREROUTING -p tcp --dport 80 -m comment --comment 'a\n-A POSTROUTING -m comment --comment \"b' -j DNAT --to-destination 10.9.9.9:1",
			"iptables-legacy -t nat -F PREROUTING", "10.9.9.9:1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n.Feed(tc.load, "sh", "-e")
			defer n.Feed(tc.undo, "sh")
			pod := n.NewPod("refused")
			before := n.Rules()
			out, _, err := n.Call("ADD", pod, direct(n, pod, `[{"hostPort":80,"containerPort":80}]`, ""))
			if err == nil || !strings.Contains(out, tc.says) {
				t.Errorf("ADD: %v, does not say %q: %s", err, tc.says, out)
			}
			unchanged(t, n, before)
		})
	}
}

// Native nftables rules in tables that we do not need are none of our business,
// and DEL works even where they keep iptables from showing ours.
func TestNativeRulesInTheWay(t *testing.T) {
	n := newNode(t, "iptables", "nft")
	pod := n.NewPod("web")
	native := `nft add table ip raw; nft add chain ip raw PREROUTING '{ type filter hook prerouting priority raw; }'
		nft add set ip raw s '{ type inet_service; }'; nft add rule ip raw PREROUTING tcp dport @s accept
		nft add table ip filter; nft add chain ip filter INPUT '{ type filter hook input priority filter; }'
		nft add set ip filter s '{ type inet_service; }'; nft add rule ip filter INPUT tcp dport @s accept`
	n.Feed(native, "sh", "-e")
	mustCall(t, n, "ADD", pod, direct(n, pod, mapping, ""))
	mustCall(t, n, "CHECK", pod, direct(n, pod, mapping, ""))
	other := n.NewPod("other")
	mustCall(t, n, "ADD", other, direct(n, other, `[{"hostPort":9,"containerPort":9}]`, ""))
	n.Feed("nft add set ip nat s '{ type inet_service; }'; nft add rule ip nat POSTROUTING tcp dport @s accept", "sh", "-e")
	if out, _, err := n.Call("ADD", n.NewPod("x"), direct(n, pod, `[{"hostPort":7,"containerPort":7}]`, "")); err == nil || !strings.Contains(out, "could not read") {
		t.Errorf("ADD beside unreadable rules: %v %s", err, out)
	}
	mustCall(t, n, "DEL", pod, bare(n))
	n.Feed("nft delete rule ip nat POSTROUTING handle $(nft -a list chain ip nat POSTROUTING | sed -n 's/.*@s.*handle //p')", "sh", "-e")
	if rules := n.Rules(); strings.Contains(rules, pod.ID) || !strings.Contains(rules, other.ID) {
		t.Errorf("DEL left something or took too much:\n%s", rules)
	}
}

// A connection to a Service with the same port and the same pod keeps its
// client's address.
func TestServiceToTheSamePodIsNotMasqueraded(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		pod, client := n.NewPod("web"), n.NewPod("client")
		pod.Serve(8080, "web")
		n.MustAdd(client, list)
		n.MustAdd(pod, list, lab.TCP(80, 8080))
		n.KubeProxy(pod.V4 + ":8080")
		want(t, "through the Service", client.Get("tcp4", "10.96.0.10:80"), "web "+client.V4)
		want(t, "through the hostPort", client.Get("tcp4", lab.NodeV4+":80"), "web 10.88.0.1")
	})
}

// The node's own connected UDP sockets keep their flows.
func TestConnectedSocketKeepsItsFlow(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	n.KubeProxy("10.88.0.200:80")
	list := n.Network("net", "4", nil)
	pod := n.NewPod("dns")
	pod.Serve(53, "pod")
	n.MustAdd(n.NewPod("first"), list) // cni0
	peer := n.Client.OpenFrom("udp4", lab.ClientV4+":7000", lab.NodeV4+":5353")
	own := n.OpenFrom("udp4", lab.NodeV4+":5353", lab.ClientV4+":7000")
	// The peer opens the flow, so its original direction is towards the node.
	if got := lab.Exchange(peer, own, "one"); got != "one" {
		t.Fatalf("before ADD: %q", got)
	}
	n.MustAdd(pod, list, lab.UDP(5353, 53))
	if got := lab.Exchange(peer, own, "two"); got != "two" {
		t.Errorf("after ADD the socket got %q", got)
	}
}

// A failed undo leaves the record, which leads DEL to what is left.
func TestFailedUndo(t *testing.T) {
	n := newNode(t, "iptables", "nft")
	pod := n.NewPod("web")
	mark := n.Dir + "/once"
	n.Shadow("ip6tables-nft-restore", "exit 1")
	n.Shadow("iptables-nft-restore", "if [ -e "+mark+" ]; then exit 1; fi; touch "+mark+"; exec /usr/sbin/iptables-nft-restore \"$@\"")
	out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, ""))
	if err == nil || !strings.Contains(out, "could not be undone") {
		t.Errorf("ADD: %v %s", err, out)
	}
	n.Unshadow("ip6tables-nft-restore")
	n.Unshadow("iptables-nft-restore")
	mustCall(t, n, "DEL", pod, bare(n))
	unchanged(t, n, "")
}

// A v6-only attachment is found after the state was wiped and others came.
func TestWipedStateOfTheOtherFamily(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	six, four := n.NewPod("six"), n.NewPod("four")
	conf6 := strings.Replace(direct(n, six, mapping, ""), `{"address":"10.88.0.77/16","interface":0},`, "", 1)
	conf4 := strings.Replace(direct(n, four, `[{"hostPort":1,"containerPort":1}]`, ""), `,{"address":"fd00:88::77/64","interface":0}`, "", 1)
	mustCall(t, n, "ADD", six, conf6)
	n.WipeState()
	mustCall(t, n, "ADD", four, conf4)
	mustCall(t, n, "DEL", six, bare(n))
	mustCall(t, n, "DEL", four, bare(n))
	unchanged(t, n, "")
}

// route_localnet is closed also if the rules were flushed meanwhile.
func TestRouteLocalnetAfterFlush(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		pod, second := n.NewPod("web"), n.NewPod("second")
		link(n, pod)
		value := func() string { return n.ReadSysctl("net/ipv4/conf/pod0/route_localnet") }
		flush := func() {
			if n.Native() {
				n.Run("nft", "delete table inet portguard")
				return
			}
			n.Iptables("", "-t nat -F")
			n.Iptables("", "-t mangle -F")
		}
		mustCall(t, n, "ADD", pod, direct(n, pod, mapping, ""))
		want(t, "while mapped", value(), "1")
		flush()
		mustCall(t, n, "ADD", second, direct(n, second, `[{"hostPort":1,"containerPort":1}]`, ""))
		mustCall(t, n, "DEL", second, bare(n))
		mustCall(t, n, "DEL", pod, bare(n))
		want(t, "after the last DEL", value(), "0")

		mustCall(t, n, "ADD", pod, direct(n, pod, mapping, ""))
		flush()
		mustCall(t, n, "DEL", pod, bare(n))
		want(t, "after a flush and DEL", value(), "0")
	})
}

// Hostile things in the state directory hurt only themselves.
func TestHostileState(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	pod := n.NewPod("web")
	for _, spoil := range []string{
		"rm -f FILE; mkfifo FILE", "rm -f FILE; mkdir -p FILE/x", "rm -f FILE; ln -s /etc/passwd FILE", "head -c 20 FILE >FILE.x; mv FILE.x FILE", "chmod 0 FILE",
	} {
		mustCall(t, n, "ADD", pod, direct(n, pod, mapping, ""))
		n.Run("sh", "-c", strings.ReplaceAll(spoil, "FILE", n.StateFiles()[0]))
		mustCall(t, n, "DEL", pod, bare(n))
		unchanged(t, n, "")
	}
}

// Conditions that iptables refuses are named; what is no lock is not called one.
func TestRefusedConditions(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	pod := n.NewPod("web")
	out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, `,"conditionsV4":["-m","mac","--mac-source","00:11:22:33:44:55"]`))
	if err == nil || !strings.Contains(out, "conditionsV4") || strings.Contains(out, `"code": 11,`) {
		t.Errorf("%v %s", err, out)
	}
	unchanged(t, n, "")
}
