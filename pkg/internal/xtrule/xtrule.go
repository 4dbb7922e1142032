// SPDX-License-Identifier: Apache-2.0

// Package xtrule makes rules of nf_tables of the text of iptables-save, for tests: as
// iptables-nft writes them, with every match in the form of xtables. It is the inverse of
// package xt.
package xtrule

import (
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/legacy"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// Tables are tables of iptables. They are a walk.Source without sets of nf_tables.
type Tables struct {
	chains map[nft.Table]map[string][]nft.Rule
	// base are the base chains of all tables in the order of their priorities.
	base []nft.Chain
	// sets are ipsets by index.
	sets []string
	// drops are the base chains whose policy is DROP.
	drops map[nft.Chain]bool
}

// Parse reads what iptables-save printed.
func Parse(text string, f hostport.Family) (*Tables, error) {
	t := &Tables{}
	return t, t.Add(text, f)
}

// Add reads what iptables-save printed for another family, or another table.
func (t *Tables) Add(text string, f hostport.Family) error {
	d, err := iptsave.Parse(text)
	if err != nil {
		return err
	}
	if t.chains == nil {
		t.chains, t.drops = map[nft.Table]map[string][]nft.Rule{}, map[nft.Chain]bool{}
	}
	for _, name := range []string{"raw", "mangle", "nat", "filter", "security"} {
		if table, _ := d.Table(name); table != nil {
			t.add(nft.Table{Family: f.NFProto(), Name: name}, table)
		}
	}
	slices.SortStableFunc(t.base, func(a, b nft.Chain) int { return int(a.Priority - b.Priority) })
	return nil
}

func (t *Tables) add(name nft.Table, table *iptsave.Table) {
	t.chains[name] = map[string][]nft.Rule{}
	for _, c := range table.Chains() {
		if base, ok := baseChain(name, c.Name); ok {
			t.base = append(t.base, base)
			t.drops[base] = c.Policy == "DROP"
		}
		rules := []nft.Rule{}
		for i, r := range c.Rules {
			m := maker{tables: t, table: table, ipv6: name.Family == nft.IPv6}
			rules = append(rules, nft.Rule{Chain: c.Name, Handle: uint64(i + 1), Exprs: m.rule(r)})
		}
		t.chains[name][c.Name] = rules
	}
}

// baseChain knows the base chains of iptables.
func baseChain(t nft.Table, chain string) (nft.Chain, bool) {
	for _, hook := range []uint32{nft.Prerouting, nft.Input, nft.Forward, nft.Output, nft.Postrouting} {
		if c := legacy.Base(t, hook); c.Name == chain {
			return c, true
		}
	}
	return nft.Chain{}, false
}

// BaseChains are the base chains that nftconn.Reader lists for packets to the node.
func (t *Tables) BaseChains() []nft.Chain {
	return slices.DeleteFunc(slices.Clone(t.base), func(c nft.Chain) bool {
		return c.Hook == nft.Forward || c.Hook == nft.Postrouting
	})
}

// OnwardChains are the others.
func (t *Tables) OnwardChains() []nft.Chain {
	return slices.DeleteFunc(slices.Clone(t.base), func(c nft.Chain) bool {
		return c.Hook != nft.Forward && c.Hook != nft.Postrouting
	})
}

// Drops reports whether the policy of a base chain is DROP.
func (t *Tables) Drops(c nft.Chain) (bool, error) { return t.drops[c], nil }

// Chains are the names of the chains of a table, sorted.
func (t *Tables) Chains(table nft.Table) []string { return slices.Sorted(maps.Keys(t.chains[table])) }

// Rules returns the rules of a chain. One that is not there is fs.ErrNotExist.
func (t *Tables) Rules(table nft.Table, chain string) ([]nft.Rule, error) {
	rules, ok := t.chains[table][chain]
	if !ok {
		return nil, fmt.Errorf("chain %s %s: %w", table, chain, fs.ErrNotExist)
	}
	return rules, nil
}

// Set knows no set.
func (t *Tables) Set(table nft.Table, name string) (nft.Set, error) {
	return nft.Set{}, fmt.Errorf("set %s %s: %w", table, name, fs.ErrNotExist)
}

// Lookup finds nothing.
func (t *Tables) Lookup(nft.Set, []byte) (nft.Element, bool, error) { return nft.Element{}, false, nil }

// Elements lists nothing.
func (t *Tables) Elements(nft.Set) ([]nft.Element, bool, error) { return nil, true, nil }

// SetName is the name of an ipset; the rules hold its index.
func (t *Tables) SetName(index uint16) (string, error) {
	if int(index) >= len(t.sets) {
		return "", fmt.Errorf("ipset %d: %w", index, fs.ErrNotExist)
	}
	return t.sets[index], nil
}

func (t *Tables) setIndex(name string) uint16 {
	i := slices.Index(t.sets, name)
	if i < 0 {
		i, t.sets = len(t.sets), append(t.sets, name)
	}
	return uint16(i)
}

// A maker makes the expressions of a rule.
type maker struct {
	tables *Tables
	table  *iptsave.Table
	ipv6   bool
	proto  string
}

// rule makes them in iptables-nft's order: interfaces, protocol, addresses, matches.
func (m *maker) rule(r iptsave.Rule) []nft.Expr {
	s := r.Spec()
	var out []nft.Expr
	for _, name := range []string{"-i", "-o", "-p", "-s", "-d", "-f"} {
		if o, ok := s.Option(name); ok {
			out = append(out, m.plain(o)...)
		}
	}
	for _, g := range m.groups(s.Matches) {
		out = append(out, xt.MatchExpr(m.match(g)))
	}
	return append(append(out, xt.Counter(0, 0)), m.target(s)...)
}

// plain makes the expressions of an option that belongs to no match.
func (m *maker) plain(o iptsave.Option) []nft.Expr {
	v := o.Value()
	switch o.Name {
	case "-i", "-o":
		name, wild := v, false
		if n := len(v) - 1; n >= 0 && v[n] == '+' {
			name, wild = v[:n], true
		}
		return xt.Interface(o.Name == "-o", name, wild, o.Not)
	case "-p":
		m.proto = v
		if n, ok := protocol(v); !ok {
			return []nft.Expr{xt.MatchExpr(xt.Info{Name: "protocol " + v})}
		} else if n > 0 {
			return xt.Protocol(n, o.Not)
		}
		return nil
	case "-f":
		return xt.Fragment(o.Not)
	}
	addr, mask, ok := address(v)
	if !ok {
		return []nft.Expr{xt.MatchExpr(xt.Info{Name: "address " + v})}
	}
	return xt.Address(o.Name == "-s", addr, mask, o.Not)
}

// protocol reads the name or number of a protocol; 0 is all.
func protocol(s string) (uint8, bool) {
	names := map[string]uint8{"all": 0, "icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmp6": 58, "sctp": 132, "udplite": 136}
	if n, ok := names[s]; ok {
		return n, true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil
}

// address reads an address with or without a mask of either form.
func address(s string) (addr, mask netip.Addr, ok bool) {
	text, of, masked := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return addr, mask, false
	}
	if !masked {
		of = strconv.Itoa(addr.BitLen())
	}
	if mask, err = netip.ParseAddr(of); err == nil {
		return addr, mask, mask.BitLen() == addr.BitLen()
	}
	ones, err := strconv.Atoi(of)
	if err != nil || ones < 0 || ones > addr.BitLen() {
		return addr, mask, false
	}
	b := make([]byte, addr.BitLen()/8)
	for i := range ones {
		b[i/8] |= 0x80 >> (i % 8)
	}
	mask, ok = netip.AddrFromSlice(b)
	return addr, mask, ok
}
