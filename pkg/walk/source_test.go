// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// A ruleset is a Source of one table. It compares keys as the kernel does.
type ruleset struct {
	family uint8
	chains map[string][]nft.Rule
	sets   map[string]fakeSet
	err    error
}

// A fakeSet is a set whose key has fields of the given sizes, padded to four
// bytes. One that is long is never listed.
type fakeSet struct {
	flags    uint32
	fields   []int
	verdicts bool
	long     bool
	elems    []nft.Element
}

var _ Source = (*ruleset)(nil)

func (r *ruleset) Rules(_ nft.Table, chain string) ([]nft.Rule, error) {
	rules, ok := r.chains[chain]
	if !ok && r.err == nil {
		return nil, fmt.Errorf("chain %s: %w", chain, fs.ErrNotExist)
	}
	return rules, r.err
}

func (r *ruleset) Set(t nft.Table, name string) (nft.Set, error) {
	s, ok := r.sets[name]
	if !ok {
		return nft.Set{}, fmt.Errorf("set %s: %w", name, fs.ErrNotExist)
	}
	out := nft.Set{Table: t, Name: name, Flags: s.flags, Verdicts: s.verdicts}
	for _, n := range s.fields {
		out.KeyLen += (n + 3) &^ 3
	}
	if len(s.fields) == 1 {
		out.KeyLen = s.fields[0]
	}
	return out, nil
}

func (r *ruleset) Elements(s nft.Set) ([]nft.Element, bool, error) {
	f := r.sets[s.Name]
	if f.long {
		return nil, false, nil
	}
	return slices.Clone(f.elems), true, nil
}

func (r *ruleset) Lookup(s nft.Set, key []byte) (nft.Element, bool, error) {
	f := r.sets[s.Name]
	best := -1
	for i, e := range f.elems {
		switch {
		case e.CatchAll() || len(e.Key) != len(key):
		case f.flags&nft.SetInterval != 0 && len(f.fields) == 1:
			// The element with the highest key not above ours decides; where one
			// interval ends and the next begins, that is the beginning.
			c := 1
			if best >= 0 {
				c = bytes.Compare(e.Key, f.elems[best].Key)
			}
			if bytes.Compare(e.Key, key) <= 0 && (c > 0 || c == 0 && !e.IntervalEnd()) {
				best = i
			}
		case f.holds(e, key):
			return e, true, nil
		}
	}
	if best >= 0 && !f.elems[best].IntervalEnd() {
		return f.elems[best], true, nil
	}
	i := slices.IndexFunc(f.elems, nft.Element.CatchAll)
	if i < 0 {
		return nft.Element{}, false, nil
	}
	return f.elems[i], true, nil
}

// holds compares field by field.
func (f fakeSet) holds(e nft.Element, key []byte) bool {
	end := e.KeyEnd
	if len(end) == 0 {
		end = e.Key
	}
	at := 0
	for _, n := range f.fields {
		k := key[at : at+n]
		if bytes.Compare(k, e.Key[at:at+n]) < 0 || bytes.Compare(k, end[at:at+n]) > 0 {
			return false
		}
		at += (n + 3) &^ 3
	}
	return true
}

// attr writes one netlink attribute.
func attr(typ uint16, p []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(len(p)+4))
	b = append(binary.NativeEndian.AppendUint16(b, typ), p...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func zstr(s string) []byte { return append([]byte(s), 0) }

// Exprs are a part of a rule.
type exprs = []nft.Expr

func and(parts ...exprs) exprs { return slices.Concat(parts...) }

// ex makes one expression of numbers by attribute.
func ex(name string, nums map[uint16]uint32) exprs {
	a := nft.Attrs{}
	for typ, n := range nums {
		a = a.With(typ, be32(n))
	}
	return exprs{{Name: name, Attrs: a}}
}

// with adds an attribute to the last expression.
func with(e exprs, typ uint16, b []byte) exprs {
	last := &e[len(e)-1]
	last.Attrs = last.Attrs.With(typ, b)
	return e
}

// The loads go to register 1, which is 8 to 11, unless to says otherwise.
func meta(key uint32) exprs { return ex("meta", map[uint16]uint32{1: 1, 2: key}) }

func load(base, off, n uint32) exprs {
	return ex("payload", map[uint16]uint32{1: 1, 2: base, 3: off, 4: n})
}

func to(reg uint32, e exprs) exprs { return with(e, 1, be32(reg)) }

func test1(op uint32, data []byte) exprs {
	return with(ex("cmp", map[uint16]uint32{1: 1, 2: op}), 3, attr(1, data))
}

func is(data ...byte) exprs { return test1(cmpEQ, data) }

func isNot(data ...byte) exprs { return test1(cmpNEQ, data) }

func within(op uint32, lo, hi []byte) exprs {
	return with(with(ex("range", map[uint16]uint32{1: 1, 2: op}), 3, attr(1, lo)), 4, attr(1, hi))
}

func masked(mask, xor []byte) exprs {
	n := uint32(len(mask))
	return with(with(ex("bitwise", map[uint16]uint32{1: 1, 2: 1, 3: n, 6: 0}), 4, attr(1, mask)), 5, attr(1, xor))
}

func dport() exprs { return load(2, 2, 2) }

func lookIn(set string, flags uint32) exprs {
	return with(ex("lookup", map[uint16]uint32{2: 1, 5: flags}), 1, zstr(set))
}

func lookMap(set string, dreg uint32) exprs { return with(lookIn(set, 0), 3, be32(dreg)) }

func immediate(reg uint32, b []byte) exprs {
	return with(ex("immediate", map[uint16]uint32{1: reg}), 2, attr(1, b))
}

func ends1(code int32, chain string) exprs {
	v := attr(1, be32(uint32(code)))
	if chain != "" {
		v = append(v, attr(2, zstr(chain))...)
	}
	return with(ex("immediate", map[uint16]uint32{1: 0}), 2, attr(2, v))
}

func setMark(n uint32) exprs {
	return and(immediate(1, native(n)), ex("meta", map[uint16]uint32{2: metaMark, 3: 1}))
}

// dnat4 is "dnat to" whatever is in the registers.
func dnat4() exprs { return ex("nat", map[uint16]uint32{1: 1, 2: uint32(nft.IPv4), 3: 1}) }

func xtables1(kind, name string) exprs {
	return exprs{{Name: kind, Attrs: nft.Attrs{}.With(1, zstr(name))}}
}

func ip(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

func name16(s string) []byte { return append([]byte(s), make([]byte, 16-len(s))...) }

// rulesOf makes the rules of a chain, with handles from 1.
func rulesOf(list ...exprs) []nft.Rule {
	var out []nft.Rule
	for i, e := range list {
		out = append(out, nft.Rule{Handle: uint64(i + 1), Exprs: e})
	}
	return out
}

func keys(ks ...[]byte) []nft.Element {
	var out []nft.Element
	for _, k := range ks {
		out = append(out, nft.Element{Key: k, Verdict: nft.Verdict{Code: nft.Continue}})
	}
	return out
}

// leads makes an element of a verdict map.
func leads(key []byte, code int32, chain string) nft.Element {
	return nft.Element{Key: key, Verdict: nft.Verdict{Code: code, Chain: chain}}
}

const (
	endFlag      = 1
	catchAllFlag = 2
)

func end(key []byte) nft.Element { return nft.Element{Key: key, Flags: endFlag} }

func (r *ruleset) walk(t testing.TB, p Packet) Result {
	t.Helper()
	res, err := New(r, nft.Table{Family: r.family, Name: "t"}, p.Family(), Options{}).Walk("pre", p)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// packet4 is for 192.0.2.1:80 of a node that has 192.0.2.1 and .2.
func packet4(h Hook) Packet {
	p := packet(h, "192.0.2.1", 80)
	p.Local = one("192.0.2.1").Or(one("192.0.2.2"))
	return p
}

func packet6(h Hook) Packet {
	return Packet{Hook: h, Proto: hostport.TCP, Dst: one("2001:db8::1"), Port: 80, Local: one("2001:db8::1")}
}
