// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
)

// behindRule adds a chain behind the place of the mapping, now and then, where there is a table of
// nftables: it drops packets by what they have when they go to the pod. It draws from numbers of
// its own, as socketRule does.
func behindRule(seed uint64, sets []Set) {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 0x626568696e64))}
	for i := range sets {
		s := &sets[i]
		if s.Table == nil || g.IntN(4) > 0 {
			continue
		}
		d := &native{gen: g, table: s.Table, v6: s.V6, proto: g.pick("tcp", "udp")}
		d.gen.v6 = s.V6
		base := func(priority int, rules ...string) {
			b := Base{Name: fmt.Sprintf("p%d", len(s.Table.Bases)), Type: "filter", Hook: "prerouting", Priority: priority, Policy: "accept"}
			s.Table.Bases = append(s.Table.Bases, b)
			for _, r := range rules {
				s.Rules = append(s.Rules, Rule{Chain: b.Name, Text: "meta l4proto " + d.proto + " " + r})
			}
		}
		d.hook = "prerouting"
		to := pod(map[bool]hostport.Family{false: hostport.IPv4, true: hostport.IPv6}[s.V6])
		when := g.pick("ct status dnat", "ct status & dnat != 0", d.nfAddr()+" daddr "+to.Addr().String(), fmt.Sprintf("%s dport %d", d.proto, to.Port()),
			fmt.Sprintf("ct original proto-dst %d", port), "fib daddr type != local", "meta mark 0x7", "ct mark 0x7")
		if mark, asked := strings.CutSuffix(when, " 0x7"); asked {
			first := g.pick(fmt.Sprintf("%s dport %d ", d.proto, port), fmt.Sprintf("%s dport %d ", d.proto, to.Port()), "")
			base(g.pickInt(-150, -140, -50), first+mark+" set 0x7")
		} else if g.IntN(3) == 0 {
			when += " " + d.match()
		}
		base(g.pickInt(-90, -90, 0, 10), when+" "+g.pick("drop", "drop", "drop", "accept"), g.pick("counter", "ct status dnat drop"))
	}
}

// behind reports whether a script has such a chain.
func behind(script string) bool { return strings.Contains(script, "chain p") }
