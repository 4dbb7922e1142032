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
	// Prepare makes what has no effect yet: the shared chains and sets. It is
	// empty unless Script needs them.
	Prepare *nft.Batch
	// Script adds chains with conditions, in the language of nft, "" if there are
	// none. Nothing leads to them yet.
	Script string
	// Commit does the rest in one transaction.
	Commit *nft.Batch
}

// Diff returns how to get from have to want.
func Diff(have, want *Table) Plan {
	p := Plan{Prepare: &nft.Batch{}, Commit: &nft.Batch{}}
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
		skeleton(base)
	} else if len(want.Broken) == 0 {
		repair(base, have.Broken)
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
			p.Commit.DeleteChain(Name(), name)
		}
	}
	for _, e := range fresh {
		p.Commit.CreateElement(Name(), e.Set, e.raw())
	}
	return p
}

// Abandon returns what takes back a Plan of which Commit was not done.
func Abandon(have, want *Table) *nft.Batch {
	b := &nft.Batch{}
	switch {
	case !want.There || len(script(have, want)) == 0:
	case !have.There:
		b.DeleteTable(Name())
	default:
		for name := range want.chains {
			if _, old := have.chains[name]; !old {
				b.DeleteChain(Name(), name)
			}
		}
	}
	return b
}

// skeleton makes the table with all that is shared.
func skeleton(b *nft.Batch) {
	b.CreateTable(Name())
	addSets(b, sets())
	all := rules()
	for _, c := range chains() {
		b.AddChain(c)
		for _, r := range all[c.Name] {
			b.AddRule(Name(), c.Name, nft.Rule{Exprs: r})
		}
	}
}

func addSets(b *nft.Batch, list []setSpec) {
	for _, s := range list {
		set, key, value, n, fields := s.set()
		b.AddSet(set, key, value, n, fields)
	}
}

// repair makes broken shared parts anew. Sets that are missing come first.
func repair(b *nft.Batch, broken []string) {
	is := func(name string) bool { return slices.Contains(broken, name) }
	addSets(b, slices.DeleteFunc(sets(), func(s setSpec) bool { return !is("set " + s.name) }))
	all := rules()
	for _, c := range chains() {
		if !is("chain " + c.Name) {
			continue
		}
		b.AddChain(c)
		b.FlushChain(Name(), c.Name)
		for _, r := range all[c.Name] {
			b.AddRule(Name(), c.Name, nft.Rule{Exprs: r})
		}
	}
}

// script makes the chains with conditions that want has and have has not.
func script(have, want *Table) string {
	var b strings.Builder
	for name, c := range want.chains {
		if h, ok := have.chains[name]; ok && (len(c.Rules) == 0 || slices.Equal(h.Rules, c.Rules)) {
			continue
		}
		fmt.Fprintf(&b, "add chain inet %s %s\nflush chain inet %s %s\n", Name().Name, name, Name().Name, name)
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "add rule inet %s %s %s\n", Name().Name, name, r)
		}
	}
	return b.String()
}
