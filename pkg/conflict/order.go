// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"cmp"
	"math"
	"slices"

	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
)

// A hooked is a base chain, with the rules that it is among, and when its turn is.
type hooked struct {
	*ruleset
	nft.Chain
	turn turn
	// unsure is set if the chain is there twice, because it may come before or behind others;
	// again is the second time.
	unsure, again bool
	// onward is set if it is among those of packets that somebody has.
	onward bool
}

// A turn orders the base chains of a hook. All chains of type nat are asked by one function of
// the kernel, which is at the priority of iptables' table nat: their own priorities order them
// among themselves only (nf_nat_register_fn).
type turn struct{ hook, own int32 }

func (t turn) compare(o turn) int {
	return cmp.Or(cmp.Compare(t.hook, o.hook), cmp.Compare(t.own, o.own))
}

// turn is that of the mapping.
func (p Place) turn() turn {
	if p.Flavour != "" {
		return turn{PrioIptables, PrioIptables}
	}
	return turn{PrioIptables, PrioNftables}
}

// turns are those that a base chain at a hook may have. Of one that is not of type nat and has
// the priority of that function nobody can tell which is first.
func (c hooked) turns(h walk.Hook) []hooked {
	translates := h == walk.Prerouting || h == walk.Output
	switch {
	case c.Type == "nat" && translates:
		c.turn = turn{PrioIptables, c.Priority}
	case c.Priority == PrioIptables && translates:
		c.unsure, c.turn = true, turn{PrioIptables, math.MinInt32}
		later := c
		later.again, later.turn = true, turn{PrioIptables, math.MaxInt32}
		return []hooked{c, later}
	default:
		c.turn = turn{c.Priority, 0}
	}
	return []hooked{c}
}

// groups are the base chains of a hook in the order of their turns. Those of one turn are a
// group: of those nobody can tell which is first.
func (q query) groups(h walk.Hook) (out [][]hooked) {
	key := hooksOf{q.m.Family, h}
	if known, ok := q.chains[key]; ok {
		return known
	}
	defer func() { q.chains[key] = out }()
	var all []hooked
	for _, rs := range q.rulesets {
		for i, c := range slices.Concat(rs.Chains, rs.Onward) {
			if at(c) == h && Carries(c.Table, q.m.Family) && !q.owns(c.Table, c.Name) {
				all = append(all, hooked{ruleset: rs, Chain: c, onward: i >= len(rs.Chains)}.turns(h)...)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b hooked) int { return a.turn.compare(b.turn) })
	for i, c := range all {
		if i == 0 || all[i-1].turn != c.turn {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], c)
	}
	return out
}
