// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"math/rand/v2"
	"slices"
)

// socketRule puts a rule before all others of a chain now and then, which takes or marks what
// a socket of the node is there for. It draws from numbers of its own, so that all else is
// drawn as without it.
func socketRule(seed uint64, sets []Set) {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 0x6d61746368))}
	if g.IntN(8) > 0 {
		return
	}
	s := &sets[g.IntN(len(sets))]
	proto := g.pick("tcp", "udp")
	var r Rule
	if s.Table != nil {
		base := s.Table.Bases[g.IntN(len(s.Table.Bases))]
		kinds, then := []string{"transparent 0", "transparent 1", "wildcard 0", "wildcard 1"}, "meta mark set 0x1"
		if base.Hook == "output" { // it is the sender's, and here all are of these kinds
			kinds = []string{"transparent 1", "wildcard 0"}
		}
		switch {
		case base.Type == "nat" && base.Hook != "input":
			then = "redirect to :9998"
		case base.Hook == "output": // it would mark all
			return
		}
		r = Rule{Chain: base.Name, Text: "meta l4proto " + proto + " socket " + g.pick(kinds...) + " " + then}
	} else {
		r = Rule{Chain: "PREROUTING", Text: "-p " + proto + " -m socket " + g.pick("", "--transparent ", "--nowildcard ")}
		if g.IntN(2) == 0 {
			r.Table, r.Text = "mangle", r.Text+"-j MARK --set-xmark 0x1/0x1"
		} else {
			r.Text += "-j REDIRECT --to-ports 9998"
		}
	}
	s.Rules = slices.Insert(s.Rules, 0, r)
}
