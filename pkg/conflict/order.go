// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"cmp"
	"math"
	"slices"
	"sort"

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
	// early is set where it comes before conntrack, though its priority does not say so.
	early bool
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
// the priority of that function, or that of conntrack, nobody can tell which is first: the younger
// one, and conntrack comes when somebody needs it.
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
	case c.Priority == prioConntrack && translates:
		c.unsure, c.turn = true, turn{prioConntrack, math.MaxInt32}
		before := c
		before.again, before.early, before.turn = true, true, turn{prioConntrack, math.MinInt32}
		return []hooked{before, c}
	default:
		c.turn = turn{c.Priority, 0}
	}
	return []hooked{c}
}

// A group are the base chains of one turn, in each order in which the kernel may ask them.
type group [][]hooked

// turn is that of all its chains.
func (g group) turn() turn { return g[0][0].turn }

// groups are the base chains of a hook in the order of their turns.
func (q query) groups(h walk.Hook) (out []group) {
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
	sort.SliceStable(all, func(i, j int) bool { return all[i].turn.compare(all[j].turn) < 0 }) // SortStableFunc is 10 KB for each type
	for len(all) > 0 {
		n := slices.IndexFunc(all, func(c hooked) bool { return c.turn != all[0].turn })
		if n < 0 {
			n = len(all)
		}
		out, all = append(out, orders(lines(all[:n]))), all[n:]
	}
	return out
}

// lines are chains of one turn, those of one table in the order of the kernel: the younger one is
// first, because a hook comes before those that are there with its priority, also inside the
// function that asks the chains of type nat (nf_hook_entries_grow, Linux 4.14). A table that awakes
// gets its hooks in the order of its chains (nf_tables_table_enable). Of tables nobody can tell
// which awoke last.
func lines(chains []hooked) (out [][]hooked) {
	for _, c := range chains {
		i := slices.IndexFunc(out, func(l []hooked) bool { return c.comparable(l[0]) })
		if i < 0 {
			i, out = len(out), append(out, nil)
		}
		out[i] = append(out[i], c)
	}
	for _, l := range out {
		sort.SliceStable(l, func(i, j int) bool { return l[i].Handle > l[j].Handle })
	}
	return out
}

// comparable reports whether the handles of two chains say which is first. At ingress they do not:
// a chain may get more links later (nf_tables_updchain).
func (c hooked) comparable(o hooked) bool {
	return c.ruleset == o.ruleset && c.Table == o.Table && c.Handle != 0 && o.Handle != 0 && at(c.Chain) != walk.Ingress
}

// maxOrders bounds how many orders of a group are looked at.
const maxOrders = 24

// orders are those in which the kernel may ask the chains of lines, of which each keeps its own
// order. Where there are too many, nothing is known of any two chains, and each is before and
// behind each other one; of up to half of maxOrders each three are there in each order.
func orders(lines [][]hooked) (out group) {
	if few(lines) {
		return merged(nil, lines)
	}
	all := slices.Concat(lines...)
	for i := range min(len(all), maxOrders/2) {
		order := slices.Concat(all[i:], all[:i])
		backward := slices.Clone(order)
		slices.Reverse(backward)
		out = append(out, order, backward)
	}
	return out
}

// few reports whether lines can be merged in at most maxOrders ways.
func few(lines [][]hooked) bool {
	ways, total := 1, 0
	for _, l := range lines {
		for i := range l {
			total++
			if ways = ways * total / (i + 1); ways > maxOrders {
				return false
			}
		}
	}
	return true
}

// merged are all the ways to merge lines, behind those chains that are there.
func merged(order []hooked, lines [][]hooked) (out group) {
	for i, l := range lines {
		if len(l) > 0 {
			rest := slices.Clone(lines)
			rest[i] = l[1:]
			out = append(out, merged(append(slices.Clip(order), l[0]), rest)...)
		}
	}
	if out == nil {
		out = group{order}
	}
	return out
}

// inOrder are the chains of groups, in an order in which the kernel may ask them.
func inOrder(groups []group) (out []hooked) {
	for _, g := range groups {
		out = append(out, g[0]...)
	}
	return out
}

// stations are the hooks on the way of packets that pass h first.
func stations(h walk.Hook) []walk.Hook {
	if h == walk.Output {
		return []walk.Hook{walk.Output, walk.Postrouting, walk.Prerouting, walk.Input}
	}
	return []walk.Hook{walk.Ingress, walk.Prerouting, walk.Input}
}

// asked reports whether anything on the way of packets may concern them. Chains of type nat do
// not concern later ones (translated).
func (q query) asked(h walk.Hook, later bool) bool {
	if len(q.servers[0])+len(q.s.Policy) > 0 {
		return true
	}
	for _, h := range stations(h) {
		for _, g := range q.groups(h) {
			if slices.ContainsFunc(g[0], func(c hooked) bool { return !later || c.Type != "nat" }) {
				return true
			}
		}
	}
	return false
}
