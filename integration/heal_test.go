// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// Somebody switches route_localnet off: all commands say so, and restore, or the next call
// of somebody else, switches it on again.
func TestLostSysctl(t *testing.T) {
	t.Parallel()
	onOneOfEach(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		web, other := n.NewPod("web"), n.NewPod("other")
		web.Serve(80, "web")
		n.MustAdd(web, list, lab.TCP(8080, 80))
		confDir(t, n, list)
		off := func() { n.Sysctl("net/ipv4/conf/cni0/route_localnet", "0") }
		off()
		want(t, "switched off", n.Who("tcp4", "127.0.0.1:8080"), "")
		const says = "route_localnet of cni0 is off"
		if err := n.Check(web, list, lab.TCP(8080, 80)); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "portguard restore") {
			t.Errorf("CHECK: %v", err)
		}
		if e := listed(t, n)["0.0.0.0 8080/tcp"]; e.State != "missing" || !strings.Contains(e.Reason, says) {
			t.Errorf("list: %+v", e)
		}
		if found, fit := diagnosis(t, n); fit || !strings.Contains(found["missing"].Message, says) {
			t.Errorf("doctor: %+v", found)
		}
		if out, err := cli(n, "restore"); err != nil || out != "restored pod default/web\n" {
			t.Errorf("restore: %v %s", err, out)
		}
		want(t, "restored", n.Who("tcp4", "127.0.0.1:8080"), "web")
		off()
		said := n.MustAdd(other, list, lab.TCP(8081, 80))
		if !strings.Contains(said, "hostPorts of pod default/web are put right: "+says) {
			t.Errorf("ADD says %q", said)
		}
		want(t, "healed by an ADD", n.Who("tcp4", "127.0.0.1:8080"), "web")
		off()
		if err := n.Del(other, list); err != nil {
			t.Error(err)
		}
		want(t, "healed by a DEL", n.Who("tcp4", "127.0.0.1:8080"), "web")
		_ = n.Del(web, list)
		want(t, "route_localnet in the end", n.ReadSysctl("net/ipv4/conf/cni0/route_localnet"), "0")
	})
}

// Whatever others do to the rules of the node, the next call for a pod with hostPorts,
// whosever it is, puts back what lives. What somebody has taken meanwhile stays with them.
func TestHealing(t *testing.T) {
	t.Parallel()
	const flushed = "iptables -t nat -F; iptables -t nat -X; iptables -t mangle -F; ip6tables -t nat -F; ip6tables -t nat -X"
	for _, tc := range []struct {
		backend, flavour string
		losses           map[string]string
	}{
		{"nftables", "nft", map[string]string{
			"nft flush ruleset":    "nft flush ruleset",
			"the table is deleted": "nft delete table inet portguard",
			"a map is emptied":     "nft flush map inet portguard ports4",
			"a chain is emptied":   "nft flush chain inet portguard prerouting",
			"it is dormant":        "nft 'add table inet portguard { flags dormant; }'",
			"the guard is deleted": "nft delete table inet portguard-localnet",
		}},
		{"iptables", "nft", map[string]string{
			"iptables -t nat -F":  flushed,
			"nft flush ruleset":   "nft flush ruleset",
			"one chain only":      "iptables -t nat -F PREROUTING",
			"the masquerade only": "iptables -t nat -F PORTGUARD-MASQ",
		}},
		{"iptables", "legacy", map[string]string{
			"iptables -t nat -F": flushed,
			"one chain only":     "iptables -t nat -F OUTPUT; iptables -t nat -F PREROUTING",
		}},
	} {
		t.Run(tc.backend+" beside "+tc.flavour, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, tc.backend, tc.flavour)
			list := n.Network("net", "46", nil)
			confDir(t, n, list)
			web, mail, other := n.NewPod("web"), n.NewPod("mail"), n.NewPod("other")
			web.Serve(80, "web")
			mail.Serve(80, "mail")
			n.MustAdd(web, list, lab.TCP(8080, 80), lab.UDP(8080, 80))
			n.MustAdd(mail, list, lab.TCP(8081, 80).On(lab.NodeV4))
			held := n.Rules()
			h := healing{t: t, n: n, list: list}
			for loss, script := range tc.losses {
				for verb, call := range h.calls(other) {
					n.Run("sh", "-c", script)
					if n.Rules() == held {
						t.Fatalf("%s: nothing is lost", loss)
					}
					call()
					when := fmt.Sprintf("%s, then %s", loss, verb)
					want(t, when, n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
					want(t, when+": UDP", n.Client.Who("udp4", lab.NodeV4+":8080"), "web")
					want(t, when+": IPv6", n.Client.Who("tcp6", "["+lab.NodeV6+"]:8080"), "web")
					want(t, when+": localhost", n.Who("tcp4", "127.0.0.1:8080"), "web")
					want(t, when+": the other one", n.Client.Who("tcp4", lab.NodeV4+":8081"), "mail")
					if out, err := cli(n, "restore"); err != nil || strings.Contains(out, "restored") {
						t.Errorf("%s: restore has something left to do: %v %s", when, err, out)
					}
				}
			}
			for script := range tc.losses { // and what was taken meanwhile
				n.Run("sh", "-c", tc.losses[script])
				break
			}
			for _, p := range []*lab.Pod{web, mail, other} {
				_ = n.Del(p, list, lab.TCP(1, 1))
			}
			if rules := n.Rules(); strings.Contains(rules, "portguard") || strings.Contains(rules, "PORTGUARD") {
				t.Errorf("rules left:\n%s", rules)
			}
			want(t, "route_localnet", n.ReadSysctl("net/ipv4/conf/cni0/route_localnet"), "0")
		})
	}
}

// healing are calls for somebody else.
type healing struct {
	t    *testing.T
	n    *lab.Node
	list string
}

func (h healing) calls(other *lab.Pod) map[string]func() {
	return map[string]func(){
		"ADD": func() {
			h.n.MustAdd(other, h.list, lab.TCP(9000, 80))
			_ = h.n.Del(other, h.list, lab.TCP(9000, 80))
		},
		"DEL of what is gone": func() { _ = h.n.Del(other, h.list, lab.TCP(9000, 80)) },
		"GC": func() {
			mustCall(h.t, h.n, "GC", other, collect(h.n, "third", validAre()))
		},
	}
}
