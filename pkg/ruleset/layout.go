// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"maps"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A Layout is all that portguard has, or should have, in one flavour and family.
type Layout struct {
	Family hostport.Family
	tables map[string]*table
}

type table struct {
	// chains are our own, with the text of their rules.
	chains map[string][]string
	// jumps are our rules in base chains.
	jumps map[string][]jump
	// misplaced are base chains in which our jump is on the wrong side of
	// somebody else's rule.
	misplaced map[string]bool
}

// A jump is one rule of ours in a base chain. Index is its place, -1 for the
// place where it belongs by default.
type jump struct {
	text  string
	index int
}

// tableNames is the order in which tables are written: the guard comes before
// the mapping it guards.
func tableNames() []string { return []string{"mangle", "nat"} }

// A base is a base chain of ours: where our jump to chain goes.
type base struct {
	table, name, chain, match string
	// first asks for the head of the chain, otherwise for the end.
	first bool
}

func bases(f hostport.Family) []base {
	local := "-m addrtype --dst-type LOCAL"
	out := []base{
		{table: "nat", name: "PREROUTING", chain: hostports, match: local},
		{table: "nat", name: "OUTPUT", chain: hostports, match: local},
		{table: "nat", name: "POSTROUTING", chain: masq, match: "-m conntrack --ctstate DNAT", first: true},
	}
	if f == hostport.IPv4 {
		out = append(out, base{table: "mangle", name: "PREROUTING", chain: guard, match: "-d 127.0.0.0/8", first: true})
	}
	return out
}

func (b base) rule() string {
	return b.match + " -m comment --comment " + sharedComment + " -j " + b.chain
}

func empty(f hostport.Family) *Layout {
	l := &Layout{Family: f, tables: map[string]*table{}}
	for _, n := range tableNames() {
		l.tables[n] = &table{chains: map[string][]string{}, jumps: map[string][]jump{}, misplaced: map[string]bool{}}
	}
	return l
}

// FromDump finds what is ours in a dump, which may be nil.
func FromDump(d *iptsave.Dump, f hostport.Family) *Layout {
	l := empty(f)
	for name, t := range l.tables {
		for _, c := range d.Table(name).Chains() {
			if IsOurs(c.Name) {
				texts := []string{}
				for _, r := range c.Rules {
					texts = append(texts, r.Text)
				}
				t.chains[c.Name] = texts
				continue
			}
			if c.Policy != "" {
				t.readBase(c, f, name)
			}
		}
	}
	return l
}

// readBase finds our jumps in base chain c and whether they stand where they
// must.
func (t *table) readBase(c *iptsave.Chain, f hostport.Family, name string) {
	for i, r := range c.Rules {
		if IsOurs(r.Spec().Target) {
			t.jumps[c.Name] = append(t.jumps[c.Name], jump{text: r.Text, index: i})
		}
	}
	for _, b := range bases(f) {
		if b.table == name && b.name == c.Name {
			t.misplaced[c.Name] = b.misplaced(c)
		}
	}
}

// misplaced reports whether our jump stands before one that must come first, or
// behind one that ends the walk before it.
func (b base) misplaced(c *iptsave.Chain) bool {
	seen := false
	for _, r := range c.Rules {
		target := r.Spec().Target
		switch {
		case target == b.chain:
			seen = true
		case !b.first && target == "KUBE-SERVICES" && seen:
			return true
		case b.first && !seen && endsBeforeUs(target):
			return true
		}
	}
	return false
}

// endsBeforeUs reports whether a rule at the head of a chain may keep packets
// from ours: a verdict, or the chains of the bridge and ptp plugins
// ("CNI-<hash>", which accept what stays on the pod network).
func endsBeforeUs(target string) bool {
	switch target {
	case "ACCEPT", "MASQUERADE", "SNAT":
		return true
	}
	return strings.HasPrefix(target, "CNI-") && !strings.HasPrefix(target, "CNI-HOSTPORT-")
}

func (l *Layout) clone() *Layout {
	c := empty(l.Family)
	for n, t := range l.tables {
		for name, rules := range t.chains {
			c.tables[n].chains[name] = slices.Clone(rules)
		}
		for name, js := range t.jumps {
			c.tables[n].jumps[name] = slices.Clone(js)
		}
		c.tables[n].misplaced = maps.Clone(t.misplaced)
	}
	return c
}

// Empty reports whether nothing of ours is there.
func (l *Layout) Empty() bool {
	for _, t := range l.tables {
		if len(t.chains) > 0 || len(t.jumps) > 0 {
			return false
		}
	}
	return true
}

// Has reports whether anything of the attachment with that key is there.
func (l *Layout) Has(key string) bool {
	for _, t := range l.tables {
		for name, rules := range t.chains {
			if keyOf(name) == key {
				return true
			}
			for _, r := range rules {
				if keyOf((iptsave.Rule{Text: r}).Spec().Target) == key {
					return true
				}
			}
		}
	}
	return false
}

// sortedChains returns the names of our chains in one order, so that plans are
// reproducible.
func (t *table) sortedChains() []string {
	return slices.Sorted(maps.Keys(t.chains))
}
