// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"maps"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A Layout is all that portguard has, or should have, in table nat of one flavour and
// family. It does not change; what it has decoded it keeps, so one goroutine may use it.
type Layout struct {
	Family hostport.Family
	// chains are our own.
	chains map[string][]*rule
	// jumps are our rules in base chains.
	jumps map[string][]jump
	// foreign are the rules of base chains, ours among them.
	foreign map[string][]iptsave.Spec
	// split are shared chains by whom their rules lead to.
	split map[string]*shared
}

// A rule is decoded at most once, however many Layouts have it.
type rule struct {
	text string
	// packets is what it has counted, nil without counters.
	packets   *uint64
	spec      *iptsave.Spec
	canonical string
}

// newRule is a rule that nobody has counted yet.
func newRule(args ...string) *rule { return &rule{text: iptsave.Join(args...)} }

func (r *rule) decoded() iptsave.Spec {
	if r.spec == nil {
		s := iptsave.Rule{Text: r.text}.Spec()
		r.spec = &s
	}
	return *r.spec
}

// target is the last word of most rules, and of thousands nothing else matters.
func (r *rule) target() string {
	i := strings.LastIndexByte(r.text, ' ')
	if r.spec == nil && i > 2 && r.text[i-3:i] == " -j" && !strings.HasSuffix(r.text, `"`) {
		return r.text[i+1:]
	}
	return r.decoded().Target
}

// same reports whether two rules say the same. iptables may print one in other words
// than it was given.
func (r *rule) same(o *rule) bool {
	return r == o || r.text == o.text || r.normal() == o.normal()
}

func (r *rule) normal() string {
	if r.canonical == "" {
		r.canonical = iptsave.Rule{Text: r.text}.Canonical()
	}
	return r.canonical
}

func sameRules(a, b []*rule) bool { return slices.EqualFunc(a, b, (*rule).same) }

// A jump is one rule of ours in a base chain. Index is its place, -1 for the
// place where it belongs by default.
type jump struct {
	text  string
	index int
}

func empty(f hostport.Family) *Layout {
	return &Layout{Family: f, chains: map[string][]*rule{}, jumps: map[string][]jump{}, foreign: map[string][]iptsave.Spec{}, split: map[string]*shared{}}
}

// FromDump finds what is ours in a dump, which may be nil.
func FromDump(d *iptsave.Dump, f hostport.Family) *Layout {
	l := empty(f)
	for _, c := range d.Table("nat").Chains() {
		switch {
		case IsOurs("nat", c.Name):
			rules := make([]*rule, len(c.Rules))
			for i, r := range c.Rules {
				rules[i] = &rule{text: r.Text, packets: r.Packets}
			}
			l.chains[c.Name] = rules
		case c.Policy != "":
			l.readBase(c)
		}
	}
	return l
}

// readBase finds our jumps in base chain c.
func (l *Layout) readBase(c *iptsave.Chain) {
	for i, r := range c.Rules {
		s := r.Spec()
		l.foreign[c.Name] = append(l.foreign[c.Name], s)
		if IsOurs("nat", s.Target) {
			l.jumps[c.Name] = append(l.jumps[c.Name], jump{text: r.Text, index: i})
		}
	}
}

// clone is a copy of l whose maps may be changed, but not their slices.
func (l *Layout) clone() *Layout {
	c := empty(l.Family)
	c.chains, c.jumps, c.foreign = maps.Clone(l.chains), maps.Clone(l.jumps), l.foreign
	return c
}

// Empty reports whether nothing of ours is there.
func (l *Layout) Empty() bool { return len(l.chains) == 0 && len(l.jumps) == 0 }

// Has reports whether anything of the attachment with that key is there.
func (l *Layout) Has(key string) bool {
	for _, p := range []string{condPrefix, dnatPrefix, masqPrefix} {
		if _, ok := l.chains[p+key]; ok {
			return true
		}
	}
	return len(l.shared(hostports).of[key])+len(l.shared(masq).of[key]) > 0
}

// A shared chain leads to attachments.
type shared struct {
	of   map[string][]*rule
	rest []*rule // what leads to none
}

// shared splits a chain by the attachments that its rules lead to.
func (l *Layout) shared(chain string) *shared {
	if s, ok := l.split[chain]; ok {
		return s
	}
	s := &shared{of: map[string][]*rule{}}
	for _, r := range l.chains[chain] {
		if key := keyOf(r.target()); key != "" {
			s.of[key] = append(s.of[key], r)
		} else {
			s.rest = append(s.rest, r)
		}
	}
	l.split[chain] = s
	return s
}

// named returns our chains whose names begin with prefix, in order, so that plans are
// reproducible.
func (l *Layout) named(accept func(chain string) bool) []string {
	out := make([]string, 0, len(l.chains))
	for name := range l.chains {
		if accept(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
