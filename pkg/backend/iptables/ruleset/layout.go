// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"maps"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
)

// A Layout is all that portguard has, or should have, in table nat of one flavour and
// family. Immutable, but it caches what it decodes: not for concurrent use.
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
	// wholes are shared chains that are whole, or are not, as far as it was asked.
	wholes map[string]bool
}

func sameRules(a, b []*rule) bool { return slices.EqualFunc(a, b, (*rule).same) }

// A jump is one rule of ours in a base chain. Index is its place, -1 for the
// place where it belongs by default.
type jump struct {
	text  string
	index int
}

func empty(f hostport.Family) *Layout {
	return &Layout{Family: f, chains: map[string][]*rule{}, jumps: map[string][]jump{}, foreign: map[string][]iptsave.Spec{}, split: map[string]*shared{}, wholes: map[string]bool{}}
}

// FromRules finds what is ours among rules of table nat, by chain: all of the chains
// that are ours, and the base chains. SetName tells the name of the ipset with an index,
// "" if nobody knows it.
func FromRules(f hostport.Family, chains map[string][]nft.Rule, setName func(index string) string) *Layout {
	l := empty(f)
	for name, rules := range chains {
		own := make([]*rule, len(rules))
		for i := range rules {
			own[i] = &rule{from: &rules[i], family: f, setName: setName}
		}
		l.read(name, own)
	}
	return l
}

// FromSave finds what is ours in what iptables-save has printed of table nat.
func FromSave(nat *iptsave.Table, f hostport.Family) *Layout {
	l := empty(f)
	for _, c := range nat.Chains() {
		rules := make([]*rule, len(c.Rules))
		for i, r := range c.Rules { // not as it is printed: see iptsave.Nameable
			var words []string
			for _, w := range iptsave.Split(r.Text) {
				words = append(words, w.String())
			}
			rules[i] = &rule{args: words}
		}
		if c.Policy != "" || IsOurs("nat", c.Name) {
			l.read(c.Name, rules)
		}
	}
	return l
}

// read takes one of our chains, or finds our jumps in a base chain.
func (l *Layout) read(name string, rules []*rule) {
	if IsOurs("nat", name) {
		l.chains[name] = rules
		return
	}
	for i, r := range rules {
		l.foreign[name] = append(l.foreign[name], r.decoded())
		if IsOurs("nat", r.target()) && r.exact() {
			l.jumps[name] = append(l.jumps[name], jump{text: r.String(), index: i})
		}
	}
}

// Undoable reports whether all that a change to want takes away can be written again. Of
// some matches, which a user's conditions may have, only iptables knows the words.
func (l *Layout) Undoable(want *Layout) bool {
	for name, rules := range l.chains {
		kept := want.chains[name]
		if len(kept) == len(rules) && slices.Equal(kept, rules) {
			continue
		}
		in := map[*rule]bool{}
		for _, r := range kept {
			in[r] = true
		}
		if slices.ContainsFunc(rules, func(r *rule) bool { return !in[r] && !r.exact() }) {
			return false
		}
	}
	return true
}

// clone is a copy of l whose maps may be changed, but not their slices.
func (l *Layout) clone() *Layout {
	c := empty(l.Family)
	c.chains, c.jumps, c.foreign = maps.Clone(l.chains), maps.Clone(l.jumps), l.foreign
	return c
}

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

// named returns our chains that accept wants, in order, so that plans are reproducible.
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
