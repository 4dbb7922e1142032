// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// Tools print rules, change them, and say whether they could; *iptables.Tools does.
type Tools interface {
	Save(fl iptables.Flavour, f hostport.Family, table string) (*iptsave.Table, error)
	Restore(fl iptables.Flavour, f hostport.Family, script string) error
	Test(fl iptables.Flavour, f hostport.Family, script string) error
}

// A Reader reads the rules of a flavour, "nft" or "legacy", without a program: all of a
// chain, or of the names at least those that are ours and those of base chains.
// *rules.Reader is one.
type Reader interface {
	Chains(flavour string, f hostport.Family, table string) ([]string, error)
	Rules(flavour string, t nft.Table, chain string) ([]nft.Rule, error)
}

// Options are what a Backend works with.
type Options struct {
	Tools Tools
	// Families are those of the node.
	Families []hostport.Family
	// Open returns a Reader that has read nothing yet.
	Open func() Reader
	// Sets are those of ruleset.ServiceSets that exist.
	Sets func(f hostport.Family) ([]ruleset.Set, error)
	// Within are the destinations at which mappings may be.
	Within map[hostport.Family]addrset.Set
	// SetName tells the name of an ipset by its index, "" if nobody knows it.
	SetName func(index uint16) (string, error)
	// All begins to list the rules of all chains of a table of nf_tables; HasSets tells
	// whether it has any set, Batch changes it.
	All     func(t nft.Table) (wait func() (map[string][]nft.Rule, error))
	HasSets func(t nft.Table) (bool, error)
	Batch   func(b *nft.Batch) error
}

// A Backend is the rules of one flavour in both families.
type Backend struct {
	flavour iptables.Flavour
	o       Options
}

var _ backend.Backend = (*Backend)(nil)

// New returns the backend of a flavour.
func New(fl iptables.Flavour, o Options) *Backend { return &Backend{fl, o} }

// Name is "iptables-nft" or "iptables-legacy".
func (b *Backend) Name() string { return "iptables-" + string(b.flavour) }

// Owns reports whether a chain is one of ours. A stranger's chain of such a name in
// another table is not.
func (b *Backend) Owns(t nft.Table, chain string) bool {
	if t == (nft.Table{}) {
		return ruleset.IsOurs("nat", chain) || ruleset.IsOurs("mangle", chain)
	}
	return (t.Family == nft.IPv4 || t.Family == nft.IPv6) && ruleset.IsOurs(t.Name, chain)
}

// Load reads all that is ours, and the base chains where that stands.
func (b *Backend) Load() (backend.State, error) {
	s, r := &State{name: b.Name()}, b.o.Open()
	var families []func() (part, error)
	for _, f := range b.o.Families {
		families = append(families, b.look(r, f))
	}
	for i, f := range b.o.Families {
		p, err := families[i]()
		if err == nil {
			p.within = b.o.Within[f]
			p.sets, err = b.o.Sets(f)
		}
		if err != nil {
			return nil, err
		}
		s.parts = append(s.parts, p)
	}
	return s, nil
}

// look begins to read one family.
func (b *Backend) look(r Reader, f hostport.Family) func() (part, error) {
	t := nft.Table{Family: f.NFProto(), Name: "nat"}
	names, _ := r.Chains(string(b.flavour), f, t.Name) // if it fails, so does read
	wait := b.read(r, f, t)
	return func() (p part, err error) {
		rules, foreign, err := wait()
		if err != nil {
			return p, fmt.Errorf("could not read the %s rules (%s): %w", b.Name(), f, err)
		}
		p.family, p.absent, p.layout = f, len(names) == 0, ruleset.FromRules(f, rules, b.setName)
		if foreign {
			p.native = &native{rules: rules, err: fmt.Errorf("could not read the %s rules (%s): table nat: %w", b.Name(), f, iptsave.ErrIncompatible)}
		}
		return p, nil
	}
}

// many is the number of chains above which all of a table are read at once.
const many = 64

// read begins to read the rules of our chains, and of the base chains if there are any of
// ours. Foreign is set if iptables cannot show the table.
func (b *Backend) read(r Reader, f hostport.Family, t nft.Table) func() (rules map[string][]nft.Rule, foreign bool, err error) {
	names, err := r.Chains(string(b.flavour), f, t.Name)
	if err != nil || len(names) == 0 {
		return func() (map[string][]nft.Rule, bool, error) { return nil, false, err }
	}
	ours := func(c string) bool { return ruleset.IsOurs(t.Name, c) }
	var list func() (map[string][]nft.Rule, error)
	if slices.ContainsFunc(names, ours) {
		list = b.list(r, t, slices.DeleteFunc(slices.Clone(names), func(c string) bool {
			return !ours(c) && !base(c)
		}))
	}
	return func() (rules map[string][]nft.Rule, foreign bool, err error) {
		if list != nil {
			rules, err = list()
		}
		if err == nil {
			foreign, err = b.native(t, rules)
		}
		return rules, foreign, err
	}
}

// base reports whether a chain is one of those that every table nat or mangle has.
func base(chain string) bool {
	return chain == "PREROUTING" || chain == "INPUT" || chain == "OUTPUT" || chain == "POSTROUTING"
}

// list begins to read chains.
func (b *Backend) list(r Reader, t nft.Table, names []string) func() (map[string][]nft.Rule, error) {
	if b.flavour != iptables.NFT || len(names) <= many {
		return func() (map[string][]nft.Rule, error) { return b.each(r, t, names) }
	}
	wait := b.o.All(t)
	return func() (map[string][]nft.Rule, error) {
		all, err := wait()
		if err != nil {
			return nil, err
		}
		out := make(map[string][]nft.Rule, len(names))
		for _, c := range names {
			out[c] = all[c] // none of an empty chain
		}
		return out, nil
	}
}

// each reads chains, one after the other.
func (b *Backend) each(r Reader, t nft.Table, names []string) (map[string][]nft.Rule, error) {
	out := make(map[string][]nft.Rule, len(names))
	var err error
	for _, c := range names {
		if out[c], err = r.Rules(string(b.flavour), t, c); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return out, nil
}

// native reports whether somebody used nft in a table of iptables-nft: it has sets, which
// iptables does not make, or one of our chains or base chains has such rules.
func (b *Backend) native(t nft.Table, rules map[string][]nft.Rule) (bool, error) {
	if b.flavour != iptables.NFT {
		return false, nil
	}
	for _, list := range rules {
		if slices.ContainsFunc(list, xt.Native) {
			return true, nil
		}
	}
	return b.o.HasSets(t)
}

// setName is SetName for a rule. Without a name the rule cannot be told in words.
func (b *Backend) setName(index string) string {
	n, err := strconv.ParseUint(index, 10, 16)
	if err != nil {
		return ""
	}
	name, _ := b.o.SetName(uint16(n))
	return name
}
