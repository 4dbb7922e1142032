// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// What looks as if it took the port and does not: traffic goes to nobody before the ADD, which
// is not refused, and to the pod after it.
func TestLooksTaken(t *testing.T) {
	t.Parallel()
	n := lab.NewNode(t, bin, "nft")
	n.ServeTCP("tcp4", ":9999", "owner")
	list := n.Network("net", "4", nil)
	pod := n.NewPod("web")
	pod.Serve(80, "web")
	n.Run("ipset", "create", "nets", "hash:net")
	n.Run("ipset", "add", "nets", "192.0.2.0/24")
	n.Run("ipset", "create", "pairs", "hash:ip,port")
	n.Run("ipset", "add", "pairs", "192.0.2.1,tcp:8080")
	n.Run("ipset", "create", "many", "hash:ip,port")
	n.Feed("add many "+strings.Join(sources(5000, ",tcp:"), "\nadd many ")+"\n", "ipset", "restore")
	const redirect = "tcp dport 8080 redirect to :9999"
	for _, tc := range []struct{ name, nft, iptables string }{
		{"a dormant table with a drop", "flags dormant; chain in { type filter hook input priority 0; policy drop; }", ""},
		{"a dormant table that translates in output", "flags dormant; chain out { type nat hook output priority -110; " + redirect + "; }", ""},
		{"by lo behind a jump for the address", `chain d { iifname "lo" ` + redirect + `; } chain pre { type nat hook prerouting priority -110; ip daddr 192.0.2.1 jump d; }`, ""},
		{"by lo in a map of verdicts", `chain d { ` + redirect + `; } chain pre { type nat hook prerouting priority -110; iif vmap { "lo" : jump d }; }`, ""},
		{"by lo and another link in a map of verdicts", `chain d { ` + redirect + `; } chain pre { type nat hook prerouting priority -110; iifname . tcp dport vmap { "lo" . 8080 : jump d, "nolink0" . 8081 : jump d }; }`, ""},
		{"by lo in a set", `chain pre { type nat hook prerouting priority -110; iif . ip daddr { "lo" . 192.0.2.1 } ` + redirect + `; }`, ""},
		{"by another type of link", `chain pre { type nat hook prerouting priority -110; iiftype loopback ` + redirect + `; }`, ""},
		{"a long set of sources and other ports", `set s { type ipv4_addr . inet_service; elements = { ` + strings.Join(sources(5000, " . "), ", ") + ` }; } chain pre { type nat hook prerouting priority -110; ip saddr . tcp dport @s redirect to :9999; }`, ""},
		{"a long ipset of other ports", "", "-p tcp -m set --match-set many src,dst -j REDIRECT --to-ports 9999"},
		{"an accept by a set of networks before it", "", "-m set --match-set nets dst -j ACCEPT"},
		{"an accept by a set of addresses and ports before it", "", "-p tcp -m set --match-set pairs dst,dst -j ACCEPT"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.nft != "" {
				n.Feed("table inet t {\n"+strings.NewReplacer("; ", ";\n", "} chain", "}\nchain").Replace(tc.nft)+"\n}\n", "nft", "-f", "-")
				defer n.Run("nft", "delete", "table", "inet", "t")
			} else {
				n.Iptables("", "-t nat -A PREROUTING "+tc.iptables)
				if strings.HasSuffix(tc.iptables, "ACCEPT") {
					n.Iptables("", "-t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 9999")
				}
				defer n.Iptables("", "-t nat -F PREROUTING")
			}
			want(t, "before", n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
			n.MustAdd(pod, list, lab.TCP(8080, 80).On(lab.NodeV4))
			want(t, "after", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
			if err := n.Del(pod, list, lab.TCP(8080, 80).On(lab.NodeV4)); err != nil {
				t.Error(err)
			}
		})
	}
}

// sources are k addresses, each with a port, but for 8080.
func sources(k int, and string) []string {
	out := make([]string, k)
	for i := range out {
		out[i] = fmt.Sprintf("10.%d.%d.%d%s%d", i>>16, i>>8&255, i&255, and, 9000+i%1000)
	}
	return out
}
