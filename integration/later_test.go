// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// Rules that write into later packets of a connection by a mark that only its answers set take
// these from the pod. Where they ask for other marks, as on nodes with several links to the
// outside, the port is free.
func TestMarksOfAnswers(t *testing.T) {
	t.Parallel()
	n := lab.NewNode(t, bin, "nft")
	list, warning := n.Network("net", "4", nil), n.Network("warn", "4", lab.Conf{"conflictPolicy": "warn"})
	const writes = "chain w { type filter hook prerouting priority -50; ct mark 1 tcp dport set 81; };"
	for _, tc := range []struct{ hook, rule string }{
		{"prerouting", "iifname cni0 ct direction reply ct mark set 1"},
		{"forward", "tcp sport 80 ct state established ct mark set 1"},
		{"forward", "tcp dport 80 ct mark set 1"}, // on the way to the pod
		{"postrouting", "oifname eth0 meta mark set 1 ct mark set meta mark"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			pod := n.NewPod("web")
			pod.Serve(80, "web")
			for mark, answers := range map[string]bool{"1": false, "2": true} {
				rule := strings.ReplaceAll(tc.rule, "set 1", "set "+mark)
				n.Feed("table inet marks { chain a { type filter hook "+tc.hook+" priority 0; "+rule+"; }; "+writes+" }", "nft", "-f", "-")
				if answers {
					accepted(t, n, list, lab.TCP(8080, 80))
				} else {
					refused(t, n, list, 103, []string{"8080/tcp is taken", "ct mark 0x00000001 tcp dport set 81"}, lab.TCP(8080, 80))
				}
				n.MustAdd(pod, warning, lab.TCP(8080, 80))
				if got := n.Client.Who("tcp4", lab.NodeV4+":8080"); (got == "web") != answers {
					t.Errorf("with mark %s %q answers", mark, got)
				}
				if err := n.Del(pod, warning, lab.TCP(8080, 80)); err != nil {
					t.Error(err)
				}
				n.Run("nft", "delete", "table", "inet", "marks")
			}
		})
	}
	t.Run("several links", func(t *testing.T) {
		for _, rule := range []string{"PREROUTING -j CONNMARK --restore-mark", "PREROUTING -i eth0 -m mark --mark 0 -j MARK --set-mark 2", "PREROUTING -j CONNMARK --save-mark",
			"OUTPUT -j CONNMARK --restore-mark", "POSTROUTING -o eth0 -j CONNMARK --set-mark 2"} {
			n.Iptables("", "-t mangle -A "+rule)
		}
		n.Feed("table inet marks { "+writes+" }", "nft", "-f", "-")
		n.Run("ip", "rule", "add", "fwmark", "2", "lookup", "main")
		pod := n.NewPod("web")
		pod.Serve(80, "web")
		if out := n.MustAdd(pod, list, lab.TCP(8080, 80)); out != "" {
			t.Errorf("ADD says %q", out)
		}
		want(t, "by marks of the link", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
	})
}

// Whoever has knocked is led elsewhere: a set that rules add to says nothing by what it holds
// now.
func TestKnock(t *testing.T) {
	t.Parallel()
	n := lab.NewNode(t, bin, "nft")
	list := n.Network("net", "4", nil)
	n.ServeTCP("tcp4", ":2222", "ssh")
	n.Feed(`table inet knock {
	set seen { type ipv4_addr; flags dynamic, timeout; timeout 1m; size 1024; }
	chain pre { type nat hook prerouting priority -90; tcp dport 1111 add @seen { ip saddr }; ip saddr @seen tcp dport 8080 redirect to :2222; }
}`, "nft", "-f", "-")
	want(t, "before", n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
	refused(t, n, list, 103, []string{"8080/tcp is taken", "@seen"}, lab.TCP(8080, 80))
	n.Client.Who("tcp4", lab.NodeV4+":1111")
	want(t, "who has knocked", n.Client.Who("tcp4", lab.NodeV4+":8080"), "ssh")
	accepted(t, n, list, lab.TCP(8081, 80))
}
