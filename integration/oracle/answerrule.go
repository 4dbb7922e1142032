// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"math/rand/v2"
)

// answerRule adds a mark of connections that only the answers set, and a rule that writes into
// later packets by it, now and then, where there is a table of nftables. It draws from numbers
// of its own, as socketRule does.
func answerRule(seed uint64, sets []Set) {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 0x616e73776572))}
	var own, tables *Set
	for i := range sets {
		if s := &sets[i]; s.Table != nil {
			own = s
		} else {
			tables = s
		}
	}
	if own == nil || g.IntN(4) > 0 {
		return
	}
	base := func(hook string, priorities ...int) string {
		b := Base{Name: fmt.Sprintf("a%d", len(own.Table.Bases)), Type: "filter", Hook: hook, Priority: g.pickInt(priorities...), Policy: "accept"}
		own.Table.Bases = append(own.Table.Bases, b)
		return b.Name
	}
	icmp := map[bool]string{false: "icmp", true: "ipv6-icmp"}[own.V6]
	if tables != nil && g.IntN(2) == 0 {
		tables.Rules = append([]Rule{{Table: "mangle", Chain: g.pick("OUTPUT", "PREROUTING"),
			Text: "-m conntrack " + g.pick("--ctdir REPLY", "--ctdir REPLY --ctstate ESTABLISHED,RELATED", "--ctstate RELATED") + " -j CONNMARK --set-xmark 0x1/0x1"}}, tables.Rules...)
	} else {
		when := g.pick("ct direction reply", "ct direction reply", "ct direction reply ct state established,related", "tcp sport 8080", "meta l4proto "+icmp, "ct state related", "ct state established")
		then := g.pick("ct mark set 0x1", "ct mark set 0x1", "meta mark set 0x1 ct mark set meta mark", "ct mark set ct mark or 0x1")
		chain := base(g.pick("prerouting", "input", "output", "output", "postrouting", "postrouting"), -150, 0, 150)
		own.Rules = append(own.Rules, Rule{Chain: chain, Text: when + " " + then})
	}
	proto := g.pick("tcp", "tcp", "udp")
	chain := base(g.pick("prerouting", "prerouting", "input", "output"), -150, -140, 10)
	own.Rules = append(own.Rules, Rule{Chain: chain, Text: fmt.Sprintf("meta l4proto %[1]s ct mark %[2]s %[1]s dport set %[3]d", proto, g.pick("0x1", "0x1", "and 0x1 == 0x1"), rewritten)})
}
