// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"math/rand/v2"
)

// ages has tables of nftables awake only when all their chains are there, now and then, and gives
// some two more base chains at the hook and priority of one that they have: one of them marks what
// another asks for, or loses it. Which is asked first, their ages decide. It draws from numbers of
// its own, as socketRule does.
func ages(seed uint64, sets []Set) {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 0x61676573))}
	for i := range sets {
		s := &sets[i]
		if s.Table == nil || s.Table.Dormant {
			continue
		}
		s.Table.Awakes = g.IntN(4) == 0
		if g.IntN(4) == 0 {
			g.contemporaries(s)
		}
	}
}

// contemporaries adds chains of one hook and priority, the younger one last.
func (g *gen) contemporaries(s *Set) {
	like := s.Table.Bases[g.IntN(len(s.Table.Bases))]
	if like.Hook == "postrouting" {
		return
	}
	proto, mark, takes := g.pick("tcp", "udp"), g.pick("meta", "meta", "ct"), "redirect to :9998"
	if like.Type != "nat" {
		takes = fmt.Sprintf("%s dport set %d", proto, rewritten)
	}
	rules := []string{mark + " mark set 0x1", mark + " mark 0x1 " + takes}
	if like.Type != "nat" && like.Priority < -100 && g.IntN(3) == 0 { // before every translation
		rules = []string{"drop", takes}
	}
	g.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	for _, r := range rules {
		like.Name, like.Policy = fmt.Sprintf("g%d", len(s.Table.Bases)), "accept"
		s.Table.Bases = append(s.Table.Bases, like)
		s.Rules = append(s.Rules, Rule{Chain: like.Name, Text: "meta l4proto " + proto + " " + r})
	}
}
