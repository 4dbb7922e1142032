// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/nft"
)

// A Plan is how to get from one table to another.
type Plan struct {
	// Prepare makes what has no effect yet: the skeleton. It is empty unless Script
	// needs that.
	Prepare *nft.Batch
	// Script adds chains with conditions, in the language of nft, "" if there are
	// none. Nothing leads to them yet.
	Script string
	// Commit is the change, in one transaction.
	Commit *nft.Batch
	// Cleanup removes chains that nothing leads to any more.
	Cleanup *nft.Batch
}

// Diff returns how to get from have to want. A skeleton that is broken is repaired,
// unless it is so in want too.
func Diff(have, want *Table) Plan {
	p := Plan{Prepare: &nft.Batch{}, Commit: &nft.Batch{}, Cleanup: &nft.Batch{}}
	t := want.Spec.Table
	if !want.There {
		if have.There {
			p.Commit.DeleteTable(t)
		}
		return p
	}
	p.Script = script(have, want)
	base := p.Commit
	if p.Script != "" {
		base = p.Prepare
	}
	if !have.There {
		base.CreateTable(t)
		want.Spec.repair(base, want.Spec.parts(), nil)
	} else if len(want.Broken) == 0 {
		want.Spec.repair(base, have.Broken, have.made)
	}
	removed, added := have.ordered(want.lacks), want.ordered(have.lacks)
	p.Commit.Grow(len(removed) + len(added))
	for _, e := range removed {
		p.Commit.DeleteElement(t, e.Set, want.Spec.raw(&e.Element))
	}
	for _, e := range added {
		p.Commit.CreateElement(t, e.Set, want.Spec.raw(&e.Element))
	}
	for _, name := range have.Chains() {
		if _, keep := want.chains[name]; !keep {
			p.Cleanup.DeleteChain(t, name)
		}
	}
	return p
}

// Empty reports whether nothing is to be done.
func (p Plan) Empty() bool {
	return p.Prepare.Empty() && p.Script == "" && p.Commit.Empty() && p.Cleanup.Empty()
}

// parts are all of a skeleton, as Table.Broken names them.
func (s Spec) parts() []string {
	var out []string
	for _, x := range s.Sets {
		out = append(out, "set "+x.Name)
	}
	for _, c := range s.Chains {
		out = append(out, "chain "+c.Name)
	}
	return out
}

// repair makes broken parts anew: sets that are missing, then chains, of which some
// are made. The kernel cannot give a base chain another hook, so a broken one is made
// anew as a whole; nothing jumps to it.
func (s Spec) repair(b *nft.Batch, broken, made []string) {
	if slices.Contains(broken, dormant) {
		b.WakeTable(s.Table)
	}
	for _, x := range s.Sets {
		if slices.Contains(broken, "set "+x.Name) {
			x.add(b, s.Table)
		}
	}
	for _, c := range s.Chains {
		if !slices.Contains(broken, "chain "+c.Name) {
			continue
		}
		switch there := slices.Contains(made, c.Name); {
		case there && c.Type != "":
			b.DeleteChain(s.Table, c.Name)
		case there:
			b.FlushChain(s.Table, c.Name)
		}
		b.AddChain(c.Chain)
		for _, r := range c.Rules {
			b.AddRule(s.Table, c.Name, nft.Rule{Exprs: r})
		}
	}
}

// script makes the chains with conditions that want has and have has not, and anew
// those of which somebody changed the rules.
func script(have, want *Table) string {
	var b strings.Builder
	t := want.Spec.Table
	for _, name := range want.Chains() {
		old, there := have.chains[name]
		c := want.chains[name]
		if there && slices.Equal(old.Shape, c.Shape) {
			continue
		}
		fmt.Fprintf(&b, "add chain %s %s\n", t, name)
		if there {
			fmt.Fprintf(&b, "flush chain %s %s\n", t, name)
		}
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "add rule %s %s %s\n", t, name, r)
		}
	}
	return b.String()
}
