// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/nft"
)

// A Spec is what a table always has, whatever is in its sets.
type Spec struct {
	Table nft.Table
	// Sets and Chains are in the order in which they are made: a chain comes before
	// those that jump to it.
	Sets   []Set
	Chains []Chain
	// Prefix begins the names of chains with conditions, "" if there are none.
	Prefix string
}

// Owns reports whether a chain is one of the table's own. Others may have put theirs there.
func (s Spec) Owns(t nft.Table, chain string) bool {
	return t == s.Table && (s.Prefix != "" && strings.HasPrefix(chain, s.Prefix) ||
		slices.ContainsFunc(s.Chains, func(c Chain) bool { return c.Name == chain }))
}

// A Set is one set, or a map if it has values or verdicts.
type Set struct {
	Name string
	// Key are the types of the parts of a key, Value those of a value.
	Key, Value []Type
	// Verdicts is set for a map that leads to chains.
	Verdicts bool
	// Intervals is set if each part of a key may be an interval.
	Intervals bool
}

// A Chain is one that is always there.
type Chain struct {
	nft.Chain
	Rules [][]nft.Expr
	// Lesser, if there are any, are the rules for a kernel that lacks an expression of Rules.
	Lesser [][]nft.Expr
}

// lesser is s for a kernel that lacks an expression; ok is false if it is the same.
func (s Spec) lesser() (out Spec, ok bool) {
	s.Chains = slices.Clone(s.Chains)
	for i, c := range s.Chains {
		if c.Lesser != nil {
			s.Chains[i].Rules, ok = c.Lesser, true
		}
	}
	return s, ok
}

// Type is that of a part of a key (nft's enum datatypes), six bits in the type of a whole
// key.
type Type uint32

// The types that keys are made of.
const (
	Addr4   Type = 7
	Addr6   Type = 8
	Proto   Type = 12
	Service Type = 13
	IfIndex Type = 20
	IfName  Type = 41
)

const bitsOfType = 6

// size is the length of a part, without what pads it.
func (k Type) size() int {
	switch k {
	case Addr6, IfName:
		return 16
	case Addr4, IfIndex:
		return 4
	case Service:
		return 2
	case Proto:
		return 1
	}
	return 0
}

// padded is the length of a part in whole registers.
func (k Type) padded() int { return (k.size() + 3) &^ 3 }

// Set returns the set of that name, a zero one if there is none.
func (s Spec) Set(name string) Set {
	for _, x := range s.Sets {
		if x.Name == name {
			return x
		}
	}
	return Set{}
}

// has reports whether a chain is of the skeleton.
func (s Spec) has(chain string) bool {
	return slices.ContainsFunc(s.Chains, func(c Chain) bool { return c.Name == chain })
}

// Map reports whether s is a map.
func (s Set) Map() bool { return s.Verdicts || len(s.Value) > 0 }

// counted reports whether s counts how often its elements are found. What leads to chains
// need not: they have rules that count.
func (s Set) counted() bool { return len(s.Value) > 0 }

// in describes s as nf_tables does.
func (s Set) in(t nft.Table) nft.Set {
	out := nft.Set{Table: t, Name: s.Name, Verdicts: s.Verdicts, Counted: s.counted()}
	for _, k := range s.Key {
		out.KeyLen += k.padded()
	}
	if len(s.Key) == 1 {
		out.KeyLen = s.Key[0].size()
	}
	if s.Map() {
		out.Flags |= nft.SetMap
	}
	if s.Intervals {
		out.Flags |= nft.SetInterval | nft.SetConcat
	}
	return out
}

// add makes s.
func (s Set) add(b *nft.Batch, t nft.Table) {
	var key, value uint32
	var fields []int
	for _, k := range s.Key {
		key = key<<bitsOfType | uint32(k)
		fields = append(fields, k.size())
	}
	valueLen := 0
	for _, k := range s.Value {
		value = value<<bitsOfType | uint32(k)
		valueLen += k.padded()
	}
	if s.Verdicts {
		value = nft.TypeVerdict
	}
	b.AddSet(s.in(t), key, value, valueLen, fields)
}
