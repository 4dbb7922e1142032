// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/portguard/portguard/pkg/nft"
)

// ErrMalformed means that a table does not have the form that iptables gives it.
var ErrMalformed = errors.New("the table is not as iptables makes it")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// hooks is NF_INET_NUMHOOKS.
const hooks = 5

// An info is what IPT_SO_GET_INFO tells of a table. Size is that of all entries.
type info struct {
	valid            uint32
	entry, underflow [hooks]uint32
	entries, size    uint32
}

// Sizes of struct ipt_getinfo and ipt_get_entries, and where their names and sizes are.
// Those of ip6tables are the same.
const (
	InfoSize      = 84
	entriesHeader = 40
	nameSize      = 32
)

// InfoRequest is the buffer with which IPT_SO_GET_INFO is asked for a table.
func InfoRequest(table string) []byte {
	return append([]byte(table), make([]byte, InfoSize-len(table))...)
}

// EntriesRequest is the buffer with which IPT_SO_GET_ENTRIES is asked for a table, by the
// answer to InfoRequest.
func EntriesRequest(table string, answer []byte) ([]byte, error) {
	i, err := decodeInfo(answer)
	b := make([]byte, entriesHeader+int(i.size))
	copy(b, table)
	binary.NativeEndian.PutUint32(b[nameSize:], i.size)
	return b, err
}

func decodeInfo(b []byte) (info, error) {
	if len(b) != InfoSize {
		return info{}, malformed("its description has %d bytes", len(b))
	}
	n := func(at int) uint32 { return binary.NativeEndian.Uint32(b[nameSize+4*at:]) }
	i := info{valid: n(0), entries: n(1 + 2*hooks), size: n(2 + 2*hooks)}
	for h := range hooks {
		i.entry[h], i.underflow[h] = n(1+h), n(1+hooks+h)
	}
	return i, nil
}

// A Table is one table of one family. Chains are decoded when somebody asks for them: of
// 20,000 rules a decision needs some hundreds.
type Table struct {
	// Concerns, if set, tells the destinations that matter: rules for another one are
	// not kept. It must not change.
	Concerns func(netip.Addr) bool

	name   nft.Table
	layout layout
	blob   []byte
	drops  map[string]bool
	chains map[string]span
	order  []string
	// starts are the chains by the offset of their first entry, which is where jumps lead.
	starts map[uint32]string
	rules  map[string][]nft.Rule
}

// A span is where the entries of a chain are, without its policy or last RETURN.
type span struct{ from, to uint32 }

// Decode reads the answers to InfoRequest and EntriesRequest. It finds the chains and no
// more.
func Decode(name nft.Table, about, entries []byte) (*Table, error) {
	t := &Table{name: name, layout: layoutOf(name.Family), drops: map[string]bool{},
		chains: map[string]span{}, starts: map[uint32]string{}, rules: map[string][]nft.Rule{}}
	if err := t.index(about, entries); err != nil {
		return nil, fmt.Errorf("could not decode iptables-legacy table %s: %w", name, err)
	}
	return t, nil
}

// For is t for a decision that other destinations matter to.
func (t *Table) For(concerns func(netip.Addr) bool) *Table {
	c := *t
	c.Concerns, c.rules = concerns, map[string][]nft.Rule{}
	return &c
}

// Base is a base chain of iptables with the priority of its hook (enum nf_ip_hook_priorities;
// those of IPv6 are the same).
func Base(t nft.Table, hook uint32) nft.Chain {
	c := nft.Chain{Table: t, Type: "filter", Hook: hook}
	c.Name = map[uint32]string{nft.Prerouting: "PREROUTING", nft.Input: "INPUT", nft.Forward: "FORWARD", nft.Output: "OUTPUT", nft.Postrouting: "POSTROUTING"}[hook]
	c.Priority = map[string]int32{"raw": -300, "mangle": -150, "nat": -100, "security": 50}[t.Name]
	switch {
	case t.Name == "nat":
		if c.Type = "nat"; hook == nft.Input || hook == nft.Postrouting {
			c.Priority = 100
		}
	case t.Name == "mangle" && hook == nft.Output:
		c.Type = "route"
	}
	return c
}

// Drops reports whether the policy of a base chain is DROP.
func (t *Table) Drops(chain string) bool { return t.drops[chain] }

// Chains lists the names of all chains.
func (t *Table) Chains() []string { return t.order }

// Rules returns the rules of a chain, with their numbers as handles. A chain that is not
// there is fs.ErrNotExist.
func (t *Table) Rules(chain string) ([]nft.Rule, error) {
	if rules, ok := t.rules[chain]; ok {
		return rules, nil
	}
	s, ok := t.chains[chain]
	if !ok {
		return nil, fmt.Errorf("iptables-legacy table %s has no chain %q: %w", t.name, chain, fs.ErrNotExist)
	}
	rules := []nft.Rule{}
	for at, n := s.from, uint64(1); at < s.to; n++ {
		e, err := t.entry(at)
		if err == nil && !t.elsewhere(e) {
			var exprs []nft.Expr
			exprs, err = t.exprs(e)
			rules = append(rules, nft.Rule{Chain: chain, Handle: n, Exprs: exprs})
		}
		if err != nil {
			return nil, fmt.Errorf("could not decode iptables-legacy chain %s %s, rule %d: %w", t.name, chain, n, err)
		}
		at = e.next
	}
	t.rules[chain] = rules
	return rules, nil
}

// elsewhere reports whether the entry is for one destination that is nobody's concern.
func (t *Table) elsewhere(e entry) bool {
	if t.Concerns == nil || e.inverted(invDst) {
		return false
	}
	l := t.layout
	for _, b := range e.b[l.dstMask : l.dstMask+l.addr] {
		if b != 255 {
			return false
		}
	}
	dst, _ := netip.AddrFromSlice(e.b[l.dst : l.dst+l.addr])
	return !t.Concerns(dst)
}
