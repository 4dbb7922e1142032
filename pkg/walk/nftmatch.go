// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/nft"
)

// cmp keeps the packets for which the comparison holds.
func (x *run) cmp(th thread, a nft.Attrs) ([]thread, error) {
	sreg, _ := a.Num(1)
	op, _ := a.Num(2)
	data, err := a.Nested(3)
	if err != nil {
		return nil, err
	}
	v := nft.Value(data)
	return x.apply(th, compare(th.regs.take(sreg, len(v)), op, v, x.p)), nil
}

// between keeps the packets whose value is in a range, or not in it.
func (x *run) between(th thread, a nft.Attrs) ([]thread, error) {
	sreg, _ := a.Num(1)
	op, _ := a.Num(2)
	from, err1 := a.Nested(3)
	to, err2 := a.Nested(4)
	if err1 != nil || err2 != nil {
		return nil, errAttrs(err1, err2)
	}
	lo, hi := nft.Value(from), nft.Value(to)
	slots := th.regs.take(sreg, len(lo))
	not := op == cmpNEQ
	t1, t2 := compare(slots, cmpGTE, lo, x.p), compare(slots, cmpLTE, hi, x.p)
	switch {
	case t1.cond != nil && t2.cond != nil && t1.cond.kind == t2.cond.kind:
		c := cond{kind: t1.cond.kind, addrs: t1.cond.addrs.And(t2.cond.addrs), not: not}
		return x.apply(th, test{cond: &c}), nil
	case t1.cond != nil || t2.cond != nil:
		return x.apply(th, test{always: Some}), nil
	}
	both := weaker(t1.always, t2.always)
	if t1.always == No || t2.always == No {
		both = No
	}
	if not {
		both = both.not()
	}
	return x.apply(th, test{always: both}), nil
}

func errAttrs(errs ...error) error {
	i := slices.IndexFunc(errs, func(e error) bool { return e != nil })
	return errs[i]
}

// apply splits a thread by the answer of a comparison.
func (x *run) apply(th thread, t test) []thread {
	if t.cond == nil {
		switch t.always {
		case Yes:
			return []thread{th}
		case No:
			x.misses(th)
			return nil
		case Some, Unknown:
		}
		return x.maybe(th, t.always)
	}
	f := x.p.Family()
	if b, some, _ := t.cond.apply(th.b, true, f); some {
		miss := th
		miss.b = b
		x.misses(miss)
	}
	b, some, sure := t.cond.apply(th.b, false, f)
	if !some {
		return nil
	}
	th.b = b
	if !sure {
		th.open = Unknown
	}
	return []thread{th}
}

// bitwise masks and flips: value&mask ^ xor.
func bitwise(th thread, a nft.Attrs) ([]thread, error) {
	sreg, _ := a.Num(1)
	dreg, _ := a.Num(2)
	n, _ := a.Num(3)
	op, shifted := a.Num(6)
	mask, err1 := a.Nested(4)
	xor, err2 := a.Nested(5)
	if err1 != nil || err2 != nil {
		return nil, errAttrs(err1, err2)
	}
	slots := slices.Clone(th.regs.take(sreg, int(n)))
	th.regs.load(dreg, unclear, 0, int(n))
	i, ok := index(dreg)
	m, f := nft.Value(mask), nft.Value(xor)
	if !ok || shifted && op != 0 || len(m) != int(n) || len(f) != int(n) || len(slots) == 0 {
		return []thread{th}, nil
	}
	for k, s := range slots {
		for j := range min(4, int(n)-4*k) {
			s.data[j] = s.data[j]&m[4*k+j] ^ f[4*k+j]
			s.mask[j] &= m[4*k+j]
		}
		th.regs[i+k] = s
	}
	return []thread{th}, nil
}

// byteorder swaps the bytes of numbers of a size (nft_byteorder_eval).
func byteorder(th thread, a nft.Attrs) []thread {
	sreg, _ := a.Num(1)
	dreg, _ := a.Num(2)
	n, _ := a.Num(4)
	size, _ := a.Num(5)
	slots := th.regs.take(sreg, int(n))
	b, ok := bytesOf(slots, len(slots)*4)
	if !ok || size == 0 {
		of := openSource(slots)
		th.regs.load(dreg, of, 0, int(n))
		return []thread{th}
	}
	b = slices.Clone(b)
	for i := 0; i < int(n)/int(size); i++ {
		slices.Reverse(b[i*int(size) : (i+1)*int(size)])
	}
	th.regs.store(dreg, b)
	return []thread{th}
}

// openSource is what a transformed value is: open, or not understood.
func openSource(slots []slot) source {
	if openness(slots) == Unknown {
		return unclear
	}
	return ofAnything
}

// lookup asks a set or map.
func (x *run) lookup(th thread, a nft.Attrs) ([]thread, error) {
	const inverted = 1
	name := a.Text(1)
	sreg, _ := a.Num(2)
	dreg, isMap := a.Num(3)
	flags, _ := a.Num(5)
	set, err := x.r.src.Set(x.r.table, name)
	if err != nil {
		return nil, err
	}
	x.hop.Sets = append(x.hop.Sets, name)
	slots := slices.Clone(th.regs.take(sreg, set.KeyLen))
	var out []thread
	for _, one := range x.singles(th, slots) {
		key, ok := one.key(slots, set.KeyLen)
		if !ok {
			after, err := x.openLookup(one, set, slots, dreg, isMap, flags&inverted != 0)
			if err != nil {
				return nil, err
			}
			out = append(out, after...)
			continue
		}
		e, found, err := x.r.src.Lookup(set, key)
		if err != nil {
			return nil, err
		}
		out = append(out, x.found(one.thread, set, e, found, dreg, isMap, flags&inverted != 0)...)
	}
	return out, nil
}

// found goes on with a thread for which a look-up has one answer.
func (x *run) found(th thread, set nft.Set, e nft.Element, found bool, dreg uint32, isMap, inverted bool) []thread {
	if found && e.Stateful {
		x.misses(th) // its limit or quota may end the rule
		th.open = weaker(th.open, Some)
	}
	if !isMap {
		return x.apply(th, test{always: yesIf(found != inverted)})
	}
	if !found {
		x.misses(th)
		return nil
	}
	th.comment = e.Comment
	if set.Verdicts {
		return x.verdict(th, e.Verdict)
	}
	th.regs.store(dreg, e.Data)
	return []thread{th}
}

// openLookup is one whose key hangs on what the packet set leaves open: then
// every element it may fall on is tried, unless they are too many to list.
func (x *run) openLookup(th single, set nft.Set, slots []slot, dreg uint32, isMap, inverted bool) ([]thread, error) {
	open := openness(slots)
	elems, whole, err := x.r.src.Elements(set)
	if err != nil {
		return nil, err
	}
	if !whole {
		if isMap && set.Verdicts {
			x.out(th.thread, mayDoAnything, "vmap @"+set.Name, "", false)
		}
		th.regs.load(dreg, ofAnything, 0, 16)
		return x.maybe(th.thread, open), nil
	}
	found := candidates(set, elems, th, slots)
	if !isMap {
		return x.members(th.thread, found, open, inverted), nil
	}
	x.misses(th.thread)
	var out []thread
	for _, c := range found {
		t := th.thread
		t.open = weaker(t.open, open) // an element's own limit is covered by misses
		if c.src != nil {
			if t.b.src = t.b.src.And(c.src); len(t.b.src) == 0 {
				continue
			}
		}
		t.comment = c.elem.Comment
		if set.Verdicts {
			out = append(out, x.verdict(t, c.elem.Verdict)...)
			continue
		}
		t.regs.store(dreg, c.elem.Data)
		out = append(out, t)
	}
	return out, nil
}

// members goes on with a thread that is, or is not, in a set of candidates.
func (x *run) members(th thread, found []candidate, open Tri, inverted bool) []thread {
	all, exact := addrset.Set{}, true
	for _, c := range found {
		exact = exact && c.src != nil && !c.open
		all = all.Or(c.src)
	}
	switch {
	case len(found) == 0:
		return x.apply(th, test{always: yesIf(inverted)})
	case exact:
		return x.apply(th, test{cond: &cond{kind: onSrc, addrs: all, not: inverted}})
	}
	return x.maybe(th, open)
}

// A single is a thread with one destination, if its key needs one.
type single struct {
	thread
	dst []byte
}

// maxSingles bounds how many destinations are looked up one by one.
const maxSingles = 64

// singles splits a thread by destination where the key holds one.
func (x *run) singles(th thread, slots []slot) []single {
	if !slices.ContainsFunc(slots, func(s slot) bool { return s.of == ofDst }) {
		return []single{{thread: th}}
	}
	var out []single
	for _, sp := range th.b.dst {
		for a := sp.Lo; ; a = a.Next() {
			if len(out) == maxSingles {
				return []single{{thread: th}}
			}
			one := th
			one.b.dst = addrset.Between(a, a)
			out = append(out, single{one, a.AsSlice()})
			if a == sp.Hi {
				break
			}
		}
	}
	return out
}

// key is the bytes to look up, if they are all known.
func (s single) key(slots []slot, n int) ([]byte, bool) {
	var out []byte
	for _, sl := range slots {
		switch {
		case sl.of == known:
			out = append(out, sl.data[:]...)
		case sl.of == ofDst && s.dst != nil && int(sl.off)+4 <= len(s.dst):
			for j := range 4 {
				out = append(out, s.dst[int(sl.off)+j]&sl.mask[j]^sl.data[j])
			}
		default:
			return nil, false
		}
	}
	if len(out) < n {
		return nil, false
	}
	return out[:n], true
}

// xtMatch: iptables-nft keeps some matches in the form of xtables. Only the
// comment is decoded.
func (x *run) xtMatch(th thread, a nft.Attrs) []thread {
	name := a.Text(1)
	if name == "comment" {
		return []thread{th}
	}
	if name == "multiport" || name == "tcp" || name == "udp" || name == "sctp" || name == "set" {
		x.hop.NamesPort = true
	}
	return x.maybe(th, Unknown)
}

// xtTarget: the same for targets.
func (x *run) xtTarget(th thread, a nft.Attrs) []thread {
	name := a.Text(1)
	k, ok := targetKind(name)
	switch {
	case !ok:
		x.out(th, mayDoAnything, name, "", false)
		return []thread{th}
	case name == "MARK":
		th.b.mark, th.altered = bits{}, true
		return []thread{th}
	case k == keepsOn:
		return []thread{th}
	}
	x.out(th, k, name, "", false)
	return nil
}

// natTarget is where a dnat leads, "" if that is not known.
func natTarget(th thread, a nft.Attrs, family uint8) string {
	size := 16
	if family == nft.IPv4 {
		size = 4
	}
	addrReg, ok1 := a.Num(3)
	portReg, ok2 := a.Num(5)
	b, known := bytesOf(th.regs.take(addrReg, size), size)
	ip, ok := netip.AddrFromSlice(b)
	if !ok1 || !known || !ok {
		return ""
	}
	if p, ok := bytesOf(th.regs.take(portReg, 2), 2); ok && ok2 {
		return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(p)).String()
	}
	return ip.String()
}
