// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
)

// Tools print rules and change them; *iptables.Tools does.
type Tools interface {
	StartSave(fl iptables.Flavour, f hostport.Family) func() (*iptsave.Dump, error)
	Restore(fl iptables.Flavour, f hostport.Family, script string) error
}

// Options are what a Backend works with.
type Options struct {
	Tools Tools
	// Families are those of the node.
	Families []hostport.Family
	// Chains lists the names of the chains of a table, without a tool.
	Chains func(f hostport.Family, table string) ([]string, error)
	// Sets are those of ruleset.ServiceSets that exist. Nil is none.
	Sets func(f hostport.Family) ([]ruleset.Set, error)
	// Rules lists all rules of a table of nf_tables, and Batch changes them, where
	// iptables cannot show a table. Nil is those of the node.
	Rules func(t nft.Table) (map[string][]nft.Rule, error)
	Batch func(b *nft.Batch) error
}

// A Backend is the rules of one flavour in both families.
type Backend struct {
	flavour iptables.Flavour
	o       Options
}

var _ backend.Backend = (*Backend)(nil)

// New returns the backend of a flavour.
func New(fl iptables.Flavour, o Options) *Backend {
	if o.Sets == nil {
		o.Sets = func(hostport.Family) ([]ruleset.Set, error) { return nil, nil }
	}
	if o.Rules == nil {
		o.Rules = func(t nft.Table) (map[string][]nft.Rule, error) { return nftconn.NewReader().AllRules(t) }
	}
	if o.Batch == nil {
		o.Batch = nftconn.Apply
	}
	return &Backend{fl, o}
}

// Name is "iptables-nft" or "iptables-legacy".
func (b *Backend) Name() string { return name(b.flavour) }

func name(fl iptables.Flavour) string { return "iptables-" + string(fl) }

// Owns reports whether a chain is one of ours. A stranger's chain of such a name in
// another table is not.
func (b *Backend) Owns(t nft.Table, chain string) bool {
	if t == (nft.Table{}) {
		return ruleset.IsOurs("nat", chain) || ruleset.IsOurs("mangle", chain)
	}
	return (t.Family == nft.IPv4 || t.Family == nft.IPv6) && ruleset.IsOurs(t.Name, chain)
}

// Load reads the families in which any chain is ours, at the same time.
func (b *Backend) Load() (backend.State, error) {
	s := &State{name: b.Name()}
	var waits []func() (*iptsave.Dump, error)
	for _, f := range b.o.Families {
		names, err := b.o.Chains(f, "nat")
		if err != nil {
			return nil, finish(waits, err)
		}
		sets, err := b.o.Sets(f)
		if err != nil {
			return nil, finish(waits, err)
		}
		p := part{family: f, layout: ruleset.FromDump(nil, f), sets: sets}
		if slices.ContainsFunc(names, func(c string) bool { return ruleset.IsOurs("nat", c) }) {
			p.there = true
			waits = append(waits, b.o.Tools.StartSave(b.flavour, f))
		}
		s.parts = append(s.parts, p)
	}
	for i := range s.parts {
		p := &s.parts[i]
		if !p.there {
			continue
		}
		d, err := waits[0]()
		waits = waits[1:]
		if err == nil {
			err = b.read(p, d)
		}
		if err != nil {
			return nil, finish(waits, err)
		}
	}
	return s, nil
}

// finish waits for tools that have been started, and returns err.
func finish(waits []func() (*iptsave.Dump, error), err error) error {
	for _, wait := range waits {
		_, _ = wait()
	}
	return err
}

// read finds what is ours in a dump, or, where iptables cannot show it, among the rules
// of nf_tables.
func (b *Backend) read(p *part, d *iptsave.Dump) error {
	err := d.Readable("nat")
	if err == nil {
		p.layout = ruleset.FromDump(d, p.family)
		return nil
	}
	err = fmt.Errorf("could not read the %s rules (%s): %w", b.Name(), p.family, err)
	if !errors.Is(err, iptsave.ErrIncompatible) || b.flavour != iptables.NFT {
		return err
	}
	rules, rerr := b.o.Rules(nft.Table{Family: p.family.NFProto(), Name: "nat"})
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	names, rerr := b.o.Chains(p.family, "nat")
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	p.native = newNative(p.family, names, rules, err)
	return nil
}
