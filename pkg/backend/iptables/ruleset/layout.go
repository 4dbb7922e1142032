// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"maps"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A Layout is all that portguard has, or should have, in one flavour and family.
type Layout struct {
	Family hostport.Family
	tables map[string]*table
	// part is set if not all of our chains of nat were read.
	part bool
	// others have the rest, if among is set.
	others []hostport.Attachment
	among  bool
	// specs are rules that were decoded once: a change goes through all of ours
	// several times.
	specs map[string]iptsave.Spec
	// texts are what Canonical makes of rules.
	texts map[string]string
}

// spec decodes a rule.
func (l *Layout) spec(rule string) iptsave.Spec {
	s, ok := l.specs[rule]
	if !ok {
		s = iptsave.Rule{Text: rule}.Spec()
		l.specs[rule] = s
	}
	return s
}

// canonical is equal for rules that say the same.
func (l *Layout) canonical(rule string) string {
	c, ok := l.texts[rule]
	if !ok {
		c = canonical(rule)
		l.texts[rule] = c
	}
	return c
}

func (l *Layout) targetOf(rule string) string { return l.spec(rule).Target }

type table struct {
	// chains are our own, with the text of their rules.
	chains map[string][]string
	// unread are there and not known. What chains has of them is new.
	unread map[string]bool
	// packets is what the rules of our chains have counted, nil without counters.
	packets map[string][]*uint64
	// jumps are our rules in base chains.
	jumps map[string][]jump
	// foreign are the rules of base chains, ours among them.
	foreign map[string][]iptsave.Spec
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

func empty(f hostport.Family) *Layout {
	l := &Layout{Family: f, tables: map[string]*table{}, specs: map[string]iptsave.Spec{}, texts: map[string]string{}}
	for _, n := range tableNames() {
		l.tables[n] = &table{chains: map[string][]string{}, unread: map[string]bool{}, packets: map[string][]*uint64{}, jumps: map[string][]jump{}, foreign: map[string][]iptsave.Spec{}}
	}
	return l
}

// FromDump finds what is ours in a dump, which may be nil.
func FromDump(d *iptsave.Dump, f hostport.Family) *Layout {
	l := empty(f)
	for name, t := range l.tables {
		for _, c := range d.Table(name).Chains() {
			if IsOurs(c.Name) {
				texts, counts := []string{}, []*uint64{}
				for _, r := range c.Rules {
					texts, counts = append(texts, r.Text), append(counts, r.Packets)
				}
				t.chains[c.Name] = texts
				t.packets[c.Name] = counts
				continue
			}
			if c.Policy != "" {
				t.readBase(c)
			}
		}
	}
	return l
}

// readBase finds our jumps in base chain c.
func (t *table) readBase(c *iptsave.Chain) {
	for i, r := range c.Rules {
		s := r.Spec()
		t.foreign[c.Name] = append(t.foreign[c.Name], s)
		if IsOurs(s.Target) {
			t.jumps[c.Name] = append(t.jumps[c.Name], jump{text: r.Text, index: i})
		}
	}
}

func (l *Layout) clone() *Layout {
	c := empty(l.Family)
	c.specs, c.texts, c.part, c.others, c.among = l.specs, l.texts, l.part, l.others, l.among
	for n, t := range l.tables {
		for name, rules := range t.chains {
			c.tables[n].chains[name] = slices.Clone(rules)
		}
		for name, js := range t.jumps {
			c.tables[n].jumps[name] = slices.Clone(js)
		}
		c.tables[n].foreign, c.tables[n].unread = t.foreign, t.unread // never changed
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
				if keyOf(l.targetOf(r)) == key {
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
