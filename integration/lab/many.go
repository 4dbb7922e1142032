// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"strings"
)

// Addresses gives the node a link with k addresses of each family, every one with a
// network of its own. Neither family's are those of another helper of lab.
func (n *Node) Addresses(k int) {
	n.T.Helper()
	var b strings.Builder
	b.WriteString("link add many0 type bridge\nlink set many0 up\n")
	for i := range k {
		fmt.Fprintf(&b, "addr add 100.64.%d.%d/32 dev many0\naddr add fd00:64::%x/128 dev many0 nodad\n", i>>8, i&255, i+1)
	}
	n.Feed(b.String(), "ip", "-batch", "-")
}

// IPVS makes the node look as if kube-proxy were in ipvs mode, with k Services of each
// family on port 443 (pkg/proxy/ipvs/proxier.go, writeIptablesRules, and ipset.go). No
// packet gets to a Service.
func (n *Node) IPVS(k int) {
	n.T.Helper()
	var addrs, sets strings.Builder
	addrs.WriteString("link add kube-ipvs0 type bridge\n") // as a dummy, which not every kernel has
	for _, f := range []struct{ cmd, prefix, family, addr string }{{"", "KUBE-", "inet", "10.%d.%d.%d"}, {"6", "KUBE-6-", "inet6", "fd00:96::%x:%x:%x"}} {
		name := func(s string) string { s = f.prefix + s; return s[:min(31, len(s))] }
		for _, s := range []string{"NODE-PORT-TCP", "NODE-PORT-UDP", "NODE-PORT-LOCAL-TCP", "NODE-PORT-LOCAL-UDP"} {
			fmt.Fprintf(&sets, "create %s bitmap:port range 0-65535\n", name(s))
		}
		fmt.Fprintf(&sets, "create %[1]s hash:ip,port family %[4]s\ncreate %[2]s hash:ip,port family %[4]s\ncreate %[3]s hash:ip family %[4]s\n",
			name("CLUSTER-IP"), name("NODE-PORT-SCTP-HASH"), name("IPVS-IPS"), f.family)
		for i := range k {
			a := fmt.Sprintf(f.addr, 96+i>>16, i>>8&255, i&255)
			fmt.Fprintf(&addrs, "addr add %s dev kube-ipvs0%s\n", a, map[string]string{"6": " nodad"}[f.cmd])
			fmt.Fprintf(&sets, "add %[1]s %[3]s,tcp:443\nadd %[2]s %[3]s\n", name("CLUSTER-IP"), name("IPVS-IPS"), a)
		}
		defer n.Feed(fmt.Sprintf(ipvsRules, name("CLUSTER-IP"), name("NODE-PORT-TCP"), name("NODE-PORT-SCTP-HASH")), "ip"+f.cmd+"tables-restore", "--noflush")
	}
	n.Feed(addrs.String(), "ip", "-batch", "-")
	n.Feed(sets.String(), "ipset", "restore")
}

// ipvsRules are those for the sets of Services, of TCP NodePorts and of SCTP NodePorts.
const ipvsRules = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-MARK-MASQ - [0:0]
-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SERVICES -m set --match-set %[1]s dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
-A KUBE-SERVICES -m set --match-set %[1]s dst,dst -j ACCEPT
-A KUBE-NODE-PORT -p tcp -m set --match-set %[2]s dst -j KUBE-MARK-MASQ
-A KUBE-NODE-PORT -p sctp -m set --match-set %[3]s dst,dst -j KUBE-MARK-MASQ
COMMIT
`

// Sources is a nat table for nft with k rules that let one source each pass by.
func Sources(k int) string {
	var b strings.Builder
	b.WriteString("table ip many {\nchain sources {\n")
	for i := range k {
		fmt.Fprintf(&b, "ip saddr 10.%d.%d.%d return\n", 100+i>>16, i>>8&255, i&255)
	}
	return b.String() + "}\nchain prerouting { type nat hook prerouting priority dstnat; jump sources; }\n" +
		"chain output { type nat hook output priority -100; jump sources; }\n}\n"
}

// Jumps is a nat table for nft with levels of chains that each jump to the next one in
// width rules: width to the power of levels ways.
func Jumps(levels, width int) string {
	var b strings.Builder
	b.WriteString("table ip many {\n")
	for i := levels - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "chain level%d {\n", i)
		for j := range width {
			if i < levels-1 {
				fmt.Fprintf(&b, "ip saddr 10.%d.0.0/16 jump level%d\n", i*width+j, i+1)
			} else {
				fmt.Fprintf(&b, "ip saddr 10.%d.0.0/16 tcp dport 1 accept\n", i*width+j)
			}
		}
		b.WriteString("}\n")
	}
	return b.String() + "chain prerouting { type nat hook prerouting priority dstnat; jump level0; }\n" +
		"chain output { type nat hook output priority -100; jump level0; }\n}\n"
}
