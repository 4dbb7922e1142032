// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/legacy"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
)

// Names of holders.
const (
	Nftables       = "nftables" // iptables-nft's rules among it
	IptablesLegacy = "iptables-legacy"
)

// A Source reads rules, one chain and one element at a time. It is a walk.Source.
type Source interface {
	Rules(t nft.Table, chain string) ([]nft.Rule, error)
	Set(t nft.Table, name string) (nft.Set, error)
	Lookup(s nft.Set, key []byte) (nft.Element, bool, error)
	Elements(s nft.Set) (elems []nft.Element, whole bool, err error)
}

// A Holder is a place in the kernel that holds rules. Between two of them nobody can tell
// which of two chains with the same priority is first.
type Holder struct {
	Name string
	// Chains are the base chains where the destinations of packets to the node can be
	// translated, or that such packets pass before, in the order of priorities.
	Chains []nft.Chain
	// Forward are those that forwarded packets pass.
	Forward []nft.Chain
	Source  Source
	drops   func(nft.Chain) (bool, error)
}

// Drops reports whether the policy of one of Forward is DROP.
func (h Holder) Drops(c nft.Chain) (bool, error) { return h.drops(c) }

var _ Source = (*nftconn.Reader)(nil)

// Holders lists the holders: nf_tables, and iptables-legacy of each family that has rules
// there. The rules themselves are read when the Source is asked.
func (r *Reader) Holders() ([]Holder, error) {
	base, err := r.nft.BaseChains()
	if err != nil {
		return nil, err
	}
	forward, err := r.nft.ForwardChains()
	if err != nil {
		return nil, err
	}
	names, err := r.legacyNames()
	if err != nil {
		return nil, err
	}
	out := []Holder{{Name: Nftables, Chains: base, Forward: forward, Source: r.nft,
		drops: func(c nft.Chain) (bool, error) { return r.nft.Drops(c), nil }}}
	for _, f := range hostport.Families() {
		if len(names[f]) > 0 {
			out = append(out, r.legacyHolder(f, names[f]))
		}
	}
	return out, nil
}

func (r *Reader) legacyHolder(f hostport.Family, tables []string) Holder {
	s := legacySource{r, f}
	h := Holder{Name: IptablesLegacy, Source: s, drops: s.drops}
	for _, table := range []string{"raw", "mangle", "nat", "filter"} { // by priority
		at := nft.Table{Family: f.NFProto(), Name: table}
		if !slices.Contains(tables, table) {
			continue
		}
		if table != "filter" {
			h.Chains = append(h.Chains, legacy.Base(at, nft.Prerouting))
		}
		switch table {
		case "nat":
			h.Chains = append(h.Chains, legacy.Base(at, nft.Output))
		case "mangle", "filter":
			h.Forward = append(h.Forward, legacy.Base(at, nft.Forward))
		}
	}
	return h
}

// A legacySource reads the tables of iptables-legacy of one family.
type legacySource struct {
	r *Reader
	f hostport.Family
}

func (s legacySource) Rules(t nft.Table, chain string) ([]nft.Rule, error) {
	return s.r.Rules(Legacy, t, chain)
}

func (s legacySource) drops(c nft.Chain) (bool, error) {
	t, err := s.r.legacyTable(s.f, c.Table.Name)
	return t != nil && t.Drops(c.Name), err
}

// Set fails: iptables-legacy has no sets of nf_tables.
func (legacySource) Set(t nft.Table, name string) (nft.Set, error) {
	return nft.Set{}, fmt.Errorf("iptables-legacy table %s has no set %s: %w", t, name, fs.ErrNotExist)
}

func (legacySource) Lookup(nft.Set, []byte) (nft.Element, bool, error) {
	return nft.Element{}, false, nil
}

func (legacySource) Elements(nft.Set) ([]nft.Element, bool, error) { return nil, true, nil }
