// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"strings"
)

// Services is a nat table for iptables-restore as kube-proxy writes it for k
// Services with two endpoints each: eight rules a Service. The first twentieth
// have NodePorts, from 30000 on.
func Services(k int) string {
	var chains, rules strings.Builder
	for i := range k {
		fmt.Fprintf(&chains, ":KUBE-SVC-%016d - [0:0]\n:KUBE-SEP-A%015d - [0:0]\n:KUBE-SEP-B%015d - [0:0]\n", i, i, i)
		name := fmt.Sprintf("ns/svc%d:http", i)
		fmt.Fprintf(&rules, "-A KUBE-SERVICES -d 10.96.%d.%d/32 -p tcp -m comment --comment \"%s cluster IP\" -m tcp --dport 80 -j KUBE-SVC-%016d\n", i/250, i%250+1, name, i)
		fmt.Fprintf(&rules, "-A KUBE-SVC-%016d ! -s 10.88.0.0/16 -d 10.96.%d.%d/32 -p tcp -m comment --comment \"%s cluster IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ\n", i, i/250, i%250+1, name)
		fmt.Fprintf(&rules, "-A KUBE-SVC-%016d -m comment --comment \"%s -> 10.88.1.1:80\" -m statistic --mode random --probability 0.5 -j KUBE-SEP-A%015d\n", i, name, i)
		fmt.Fprintf(&rules, "-A KUBE-SVC-%016d -m comment --comment \"%s -> 10.88.1.2:80\" -j KUBE-SEP-B%015d\n", i, name, i)
		for n, ep := range []string{"A", "B"} {
			fmt.Fprintf(&rules, "-A KUBE-SEP-%s%015d -s 10.88.1.%d/32 -m comment --comment %s -j KUBE-MARK-MASQ\n", ep, i, n+1, name)
			fmt.Fprintf(&rules, "-A KUBE-SEP-%s%015d -p tcp -m comment --comment %s -m tcp -j DNAT --to-destination 10.88.1.%d:80\n", ep, i, name, n+1)
		}
		if i%20 == 0 {
			fmt.Fprintf(&rules, "-A KUBE-NODEPORTS -p tcp -m comment --comment %s -m tcp --dport %d -j KUBE-SVC-%016d\n", name, 30000+i/20, i)
		}
	}
	return "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n" + chains.String() +
		"-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n" +
		"-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n" +
		"-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n" + rules.String() +
		"-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n"
}

// ServiceMap is the part of kube-proxy's nftables mode that grows with the
// Services, for nft: a map with k elements.
func ServiceMap(k int) string {
	elements := ""
	if k > 0 {
		list := make([]string, k)
		for i := range k {
			list[i] = fmt.Sprintf("10.%d.%d.%d . tcp . 80 : accept", i>>16, i>>8&255, i&255)
		}
		elements = "elements = { " + strings.Join(list, ", ") + " }"
	}
	return `table ip kube-proxy {
		map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; ` + elements + ` }
		chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }
		chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
		chain nat-output { type nat hook output priority -100; jump services; }
	}`
}
