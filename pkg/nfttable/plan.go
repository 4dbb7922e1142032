// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/nft"
)

// A Plan is how to get from one table to another.
type Plan struct {
	// Prepare makes what has no effect yet: the shared chains and sets. It is
	// empty unless Script needs them.
	Prepare *nft.Batch
	// Script adds chains with conditions, in the language of nft, "" if there are
	// none. Nothing leads to them yet.
	Script string
	// Commit is the change, in one transaction.
	Commit *nft.Batch
	// Cleanup removes chains that nothing leads to any more.
	Cleanup *nft.Batch
}

// Diff returns how to get from have to want.
func Diff(have, want *Table) Plan {
	p := Plan{Prepare: &nft.Batch{}, Commit: &nft.Batch{}, Cleanup: &nft.Batch{}}
	if !want.There {
		if have.There {
			p.Commit.DeleteTable(Name())
		}
		return p
	}
	p.Script = script(have, want)
	base := p.Commit
	if p.Script != "" {
		base = p.Prepare
	}
	if !have.There {
		skeleton(base, want.options)
	} else if len(want.Broken) == 0 {
		repair(base, have, want.options)
	}
	var gone, fresh []Element
	for _, e := range have.sorted() {
		if want.elements[e.key()] != e {
			gone = append(gone, e)
		}
	}
	for _, e := range want.sorted() {
		if have.elements[e.key()] != e {
			fresh = append(fresh, e)
		}
	}
	for _, e := range gone {
		p.Commit.DeleteElement(Name(), e.Set, e.raw())
	}
	for name := range have.chains {
		if _, keep := want.chains[name]; !keep {
			p.Cleanup.DeleteChain(Name(), name)
		}
	}
	for _, e := range fresh {
		p.Commit.CreateElement(Name(), e.Set, e.raw())
	}
	return p
}

// Empty reports whether nothing is to be done.
func (p Plan) Empty() bool { return p.Prepare.Empty() && p.Script == "" && p.Commit.Empty() }

// skeleton makes the table with all that is shared: a table of which everything is
// missing.
func skeleton(b *nft.Batch, o options) {
	b.CreateTable(Name())
	missing := &Table{}
	for _, s := range sets() {
		missing.Broken = append(missing.Broken, "set "+s.name)
	}
	for _, c := range chains() {
		missing.Broken = append(missing.Broken, "chain "+c.Name)
	}
	repair(b, missing, o)
}

// repair makes broken shared parts anew: sets that are missing, then chains; and
// chains that lack optional rules. The kernel cannot give a base chain another hook,
// so a broken one is made anew as a whole; nothing jumps to it.
func repair(b *nft.Batch, have *Table, o options) {
	if len(have.Broken) == 0 && maps.Equal(have.options, o) {
		return
	}
	is := func(name string) bool { return slices.Contains(have.Broken, name) }
	if is(dormant) {
		b.WakeTable(Name())
	}
	for _, s := range sets() {
		if is("set " + s.name) {
			set, key, value, n, fields := s.set()
			b.AddSet(set, key, value, n, fields)
		}
	}
	was, all := rules(have.options), rules(o)
	for _, c := range chains() {
		broken, there := is("chain "+c.Name), slices.Contains(have.shared, c.Name)
		if !broken && sameOptions(was[c.Name], all[c.Name]) {
			continue
		}
		switch {
		case there && broken && c.Type != "":
			b.DeleteChain(Name(), c.Name)
		case there:
			b.FlushChain(Name(), c.Name)
		}
		if broken {
			b.AddChain(c)
		}
		for _, r := range all[c.Name] {
			b.AddRule(Name(), c.Name, r)
		}
	}
}

func sameOptions(a, b []nft.Rule) bool {
	return slices.EqualFunc(a, b, func(x, y nft.Rule) bool { return x.Comment == y.Comment })
}

// dormant is what Table.Broken says of a table that is switched off.
const dormant = "flag dormant"

// script makes the chains with conditions that want has and have has not.
func script(have, want *Table) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(want.chains)) {
		if _, old := have.chains[name]; old {
			continue
		}
		fmt.Fprintf(&b, "add chain inet %s %s\n", Name().Name, name)
		for _, r := range want.chains[name].Rules {
			fmt.Fprintf(&b, "add rule inet %s %s %s\n", Name().Name, name, r)
		}
	}
	return b.String()
}
