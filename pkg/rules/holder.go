// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"io/fs"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/legacy"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
)

// Holders lists who holds rules: nf_tables, and iptables-legacy of each family that has rules
// there. The rules themselves are read when the Source is asked.
func (r *Reader) Holders() ([]conflict.Ruleset, error) {
	base, onward, err := r.nft.Chains()
	if err != nil {
		return nil, err
	}
	tables, err := r.legacyTables()
	if err != nil {
		return nil, err
	}
	out := []conflict.Ruleset{{Holder: conflict.Nftables, Chains: base, Onward: onward, Source: r.nft, Whole: nftconn.Whole{Reader: r.nft},
		Drops: func(c nft.Chain) (bool, error) { return r.nft.Drops(c), nil }}}
	for _, f := range hostport.Families() {
		if h := r.legacyHolder(f, tables); len(h.Chains)+len(h.Onward) > 0 {
			out = append(out, h)
		}
	}
	return out, nil
}

func (r *Reader) legacyHolder(f hostport.Family, tables map[nft.Table]*legacy.Table) conflict.Ruleset {
	h := conflict.Ruleset{Holder: conflict.Legacy, Source: legacySource{r: r}, Whole: legacySource{r: r, whole: true}}
	h.Drops = func(c nft.Chain) (bool, error) {
		t, err := r.legacyTable(c.Table)
		return t != nil && t.Drops(c.Name), err
	}
	onward := map[string][]uint32{
		"mangle": {nft.Input, nft.Forward, nft.Postrouting},
		"nat":    {nft.Input, nft.Postrouting},
		"filter": {nft.Input, nft.Forward, nft.Output},
	}
	for _, table := range []string{"raw", "mangle", "nat", "filter"} {
		at := nft.Table{Family: f.NFProto(), Name: table}
		if _, exists := tables[at]; !exists {
			continue
		}
		if table != "filter" { // it has no PREROUTING, and its OUTPUT comes after nat's
			h.Chains = append(h.Chains, legacy.Base(at, nft.Prerouting), legacy.Base(at, nft.Output))
		}
		for _, hook := range onward[table] {
			h.Onward = append(h.Onward, legacy.Base(at, hook))
		}
	}
	return h
}

// A legacySource reads the tables of iptables-legacy, those parts that matter or the whole.
type legacySource struct {
	r     *Reader
	whole bool
}

func (s legacySource) Rules(t nft.Table, chain string) ([]nft.Rule, error) {
	table, err := s.r.legacyTable(t)
	if err != nil || table == nil || !s.whole {
		return s.r.Rules(Legacy, t, chain)
	}
	return table.For(nil).Rules(chain)
}

// Set fails: iptables-legacy has no sets of nf_tables.
func (legacySource) Set(t nft.Table, name string) (nft.Set, error) {
	return nft.Set{}, fmt.Errorf("iptables-legacy table %s has no set %s: %w", t, name, fs.ErrNotExist)
}

func (legacySource) Lookup(nft.Set, []byte) (nft.Element, bool, error) {
	return nft.Element{}, false, nil
}

func (legacySource) Elements(nft.Set) ([]nft.Element, bool, error) { return nil, true, nil }
