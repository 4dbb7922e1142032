// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"net/netip"
	"slices"

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
	slots := th.regs.take(sreg, len(v))
	x.asks(slots, op == cmpNEQ)
	t := compare(slots, op, v, x.p)
	if t.cond != nil || t.always == Yes || t.always == No {
		return x.apply(th, t), nil
	}
	var out []thread
	if ways := guessed(th, slots); len(ways) > 1 {
		for _, th := range ways {
			out = append(out, x.apply(th, compare(th.regs.take(sreg, len(v)), op, v, x.p))...)
		}
		return out, nil
	}
	if c, ok := th.part(slots, v); ok && (op == cmpEQ || op == cmpNEQ) {
		c.not = op == cmpNEQ
		return x.apply(th, test{cond: &c}), nil
	}
	return x.apply(th, t), nil
}

// asks notes that the rule asks for what is in slots. Who asks for all ports but one
// does not name ours.
func (x *run) asks(slots []slot, not bool) {
	x.hop.NamesPort = x.hop.NamesPort || !not && port(slots)
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
	x.asks(slots, not)
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
	if len(t.anyOf) > 0 {
		return x.anyOf(th, t)
	}
	if t.cond == nil {
		switch t.always {
		case Yes:
			return x.stay(th)
		case No:
			x.misses(th)
			return nil
		case Some, Unknown:
		}
		return x.maybe(th, t.always)
	}
	if t.cond.kind == onDst && !t.cond.not {
		x.hop.Specific = true
	}
	f := x.p.Family()
	b, some, sure := t.cond.apply(th.b, false, f)
	if !some { // as nearly all rules of a large node, which are for other destinations
		x.misses(th)
		return nil
	}
	if b, some, _ := t.cond.apply(th.b, true, f); some {
		miss := th
		miss.b = b
		x.misses(miss)
	}
	th.b = b
	if !sure {
		th.open = Unknown
	}
	return x.stay(th)
}

// anyOf splits a thread by several conditions.
func (x *run) anyOf(th thread, t test) (out []thread) {
	in, rest := splitAny(t.anyOf, th.b, x.p.Family())
	if t.not {
		in, rest = rest, in
	}
	for _, b := range rest {
		miss := th
		miss.b = b
		x.misses(miss)
	}
	for _, b := range in {
		th.b = b
		out = append(out, th)
	}
	return out
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
	of := port(slots)
	th.regs.load(dreg, unclear, 0, int(n))
	i, ok := index(dreg)
	if ok {
		th.regs[i].port = of
	}
	m, f := nft.Value(mask), nft.Value(xor)
	if !ok || shifted && op != 0 || len(m) != int(n) || len(f) != int(n) || len(slots) == 0 || i+len(slots) > len(th.regs) {
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
func byteorder(th thread, a nft.Attrs) (out []thread) {
	sreg, _ := a.Num(1)
	dreg, _ := a.Num(2)
	n, _ := a.Num(4)
	size, _ := a.Num(5)
	for _, th := range guessed(th, th.regs.take(sreg, int(n))) {
		slots := th.regs.take(sreg, int(n))
		of := port(slots)
		if b, ok := bytesOf(slots, len(slots)*4); ok && size != 0 && len(b) >= int(n) {
			b = slices.Clone(b)
			for i := 0; i < int(n)/int(size); i++ {
				slices.Reverse(b[i*int(size) : (i+1)*int(size)])
			}
			th.regs.store(dreg, b)
			if i, ok := index(dreg); ok {
				th.regs[i].port = of
			}
		} else {
			th.regs.load(dreg, openSource(slots), 0, int(n))
		}
		out = append(out, th)
	}
	return out
}

// openSource is what a transformed value is: open, or not understood.
func openSource(slots []slot) source {
	if openness(slots) == Unknown {
		return unclear
	}
	return ofAnything
}

// tproxy leads to a socket of one family, or of both (nft_tproxy_eval).
func (x *run) tproxy(th thread, a nft.Attrs) []thread {
	family, _ := a.Num(1)
	if f := uint8(family); (f == nft.IPv4 || f == nft.IPv6) && f != x.family() {
		return x.stay(th)
	}
	x.out(th, translates, "tproxy", "", false)
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
