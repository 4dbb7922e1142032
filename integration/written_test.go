// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// What a rule writes into packets, and a later one drops them for, keeps them from a mapping as well
// as a mark does: the type of service, how far they may go, their priority, labels of their
// connection. What asks for another value leaves them.
func TestWrittenAndDropped(t *testing.T) {
	t.Parallel()
	n := lab.NewNode(t, bin, "nft")
	list, warning := n.Network("net", "46", nil), n.Network("warn", "46", lab.Conf{"conflictPolicy": "warn"})
	nft := func(set, ask string) string {
		return "nft 'table inet w { chain a { type filter hook prerouting priority -149; " + strings.ReplaceAll(set, "SET", "tcp dport 8080") +
			"; }; chain b { type filter hook prerouting priority -140; " + ask + "; }; }'"
	}
	both := func(tables, target, match string) string {
		return "for i in ip ip6; do ${i}" + tables + " -t mangle -A PREROUTING -p tcp --dport 8080 -j " + target + "; ${i}" + tables + " -t mangle -A PREROUTING -m " + match + " -j DROP; done"
	}
	for _, tt := range []struct{ name, rules, other string }{
		{"dscp", nft("SET ip dscp set VALUE; SET ip6 dscp set VALUE", "ip dscp 8 drop; ip6 dscp { 8, 12 } drop"), "9"},
		{"ttl", nft("SET ip ttl set VALUE; SET ip6 hoplimit set VALUE", "ip ttl 8 drop; ip6 hoplimit 8 drop"), "77"},
		{"priority", nft("SET meta priority set VALUE", "meta priority 8 drop"), "9"},
		{"label", nft("SET ct label set VALUE", "ct label 8 drop"), "9"},
		{"DSCP", both("tables-nft", "DSCP --set-dscp VALUE", "dscp --dscp 8"), "9"},
		{"TOS of iptables-legacy", both("tables-legacy", "TOS --or-tos VALUE", "tos --tos 8/8"), "16"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for value, answers := range map[string]string{"8": "", tt.other: "web"} {
				n.Run("sh", "-ec", strings.ReplaceAll(tt.rules, "VALUE", value))
				if answers == "" {
					refused(t, n, list, 105, []string{"would not work"}, lab.TCP(8080, 80))
				} else if out := accepted(t, n, list, lab.TCP(8080, 80)); out != "" {
					t.Errorf("with %s ADD says %q", value, out)
				}
				pod := n.NewPod("web")
				pod.Serve(80, "web")
				n.MustAdd(pod, warning, lab.TCP(8080, 80))
				want(t, "with "+value, n.Client.Who("tcp4", lab.NodeV4+":8080"), answers)
				want(t, "IPv6, with "+value, n.Client.Who("tcp6", "["+lab.NodeV6+"]:8080"), answers)
				if err := n.Del(pod, warning, lab.TCP(8080, 80)); err != nil {
					t.Error(err)
				}
				pod.Delete()
				n.Run("sh", "-c", "nft delete table inet w 2>/dev/null; for i in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do $i -t mangle -F; done")
			}
		})
	}
}
