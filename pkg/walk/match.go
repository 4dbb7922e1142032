// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/nft"
)

// cmp keeps the packets for which the comparison holds.
func (x *run) cmp(th *thread, a nft.Attrs) error {
	f := a.Fields()
	sreg, _ := f.Num(1)
	op, _ := f.Num(2)
	data, err := f.Nested(3)
	if err != nil {
		return err
	}
	v := nft.Value(data)
	slots := th.regs.take(sreg, len(v))
	x.asks(slots, op == cmpNEQ)
	t := compare(slots, op, v, &x.p)
	if t.isCond || t.always == Yes || t.always == No {
		x.apply(th, t)
		return nil
	}
	if ways := guessed(th, slots); len(ways) > 1 {
		for i := range ways {
			x.apply(&ways[i], compare(ways[i].regs.take(sreg, len(v)), op, v, &x.p))
		}
		return nil
	}
	if c, ok := th.part(slots, v); ok && (op == cmpEQ || op == cmpNEQ) {
		c.not = op == cmpNEQ
		t = testOn(c)
	}
	x.apply(th, t)
	return nil
}

// asks notes that the rule asks for what is in slots. Who asks for all ports but one
// does not name ours.
func (x *run) asks(slots []slot, not bool) {
	x.hop.NamesPort = x.hop.NamesPort || !not && port(slots)
}

// between keeps the packets whose value is in a range, or not in it.
func (x *run) between(th *thread, a nft.Attrs) error {
	sreg, _ := a.Num(1)
	op, _ := a.Num(2)
	from, err1 := a.Nested(3)
	to, err2 := a.Nested(4)
	if err1 != nil || err2 != nil {
		return errAttrs(err1, err2)
	}
	lo, hi := nft.Value(from), nft.Value(to)
	slots := th.regs.take(sreg, len(lo))
	not := op == cmpNEQ
	x.asks(slots, not)
	t1, t2 := compare(slots, cmpGTE, lo, &x.p), compare(slots, cmpLTE, hi, &x.p)
	switch {
	case t1.isCond && t2.isCond && t1.cond.kind == t2.cond.kind:
		x.apply(th, testOn(cond{kind: t1.cond.kind, addrs: t1.cond.addrs.And(t2.cond.addrs), not: not}))
		return nil
	case t1.isCond || t2.isCond:
		x.apply(th, test{always: Some})
		return nil
	}
	both := weaker(t1.always, t2.always)
	if t1.always == No || t2.always == No {
		both = No
	}
	if not {
		both = both.not()
	}
	x.apply(th, test{always: both})
	return nil
}

func errAttrs(errs ...error) error {
	i := slices.IndexFunc(errs, func(e error) bool { return e != nil })
	return errs[i]
}

// apply splits a thread by the answer of a comparison.
func (x *run) apply(th *thread, t test) {
	switch {
	case len(t.anyOf) > 0:
		x.anyOf(th, t)
		return
	case t.isCond:
		x.condition(th, &t.cond)
		return
	}
	switch t.always {
	case Yes:
		x.stay(th)
	case No:
		x.misses(th)
	case Some, Unknown:
		x.maybe(th, t.always)
	}
}

// condition splits a thread by a condition.
func (x *run) condition(th *thread, c *cond) {
	if c.kind == onDst && !c.not {
		x.hop.Specific = true
	}
	b := th.b
	some, sure := c.apply(&b, false)
	if !some { // as nearly all rules of a large node, which are for other destinations
		x.misses(th)
		return
	}
	if some, _ = c.apply(&th.b, true); some {
		x.misses(th)
	}
	th.b = b
	if !sure {
		th.open = Unknown
	}
	x.stay(th)
}

// anyOf splits a thread by several conditions.
func (x *run) anyOf(th *thread, t test) {
	in, rest := splitAny(t.anyOf, th.b)
	if t.not {
		in, rest = rest, in
	}
	for _, th.b = range rest {
		x.misses(th)
	}
	for _, th.b = range in {
		x.stay(th)
	}
}

// Operations of bitwise (NFT_BITWISE_*).
const (
	bitwiseBool   = 0
	bitwiseLshift = 1
	bitwiseRshift = 2
)

// bitwise masks and flips: value&mask ^ xor. What else it does to numbers that are not known
// leaves them as open as they are.
func (x *run) bitwise(th *thread, a nft.Attrs) error {
	sreg, _ := a.Num(1)
	dreg, _ := a.Num(2)
	n, _ := a.Num(3)
	op, _ := a.Num(6)
	mask, err1 := a.Nested(4)
	xor, err2 := a.Nested(5)
	by, err3 := a.Nested(7)
	if err1 != nil || err2 != nil || err3 != nil {
		return errAttrs(err1, err2, err3)
	}
	switch sreg2, two := a.Num(8); {
	case op == bitwiseLshift || op == bitwiseRshift:
		return x.shift(th, sreg, dreg, int(n), op, nft.Value(by))
	case op > bitwiseRshift: // of two registers, or of one and a value (Linux 6.13)
		slots := slices.Clone(th.regs.take(sreg, int(n)))
		if two {
			slots = append(slots, th.regs.take(sreg2, int(n))...)
		}
		th.regs.load(dreg, openSource(slots), 0, int(n))
		if i, ok := index(dreg); ok {
			th.regs[i].port = port(slots)
		}
		x.stay(th)
		return nil
	}
	slots := slices.Clone(th.regs.take(sreg, int(n)))
	of := port(slots)
	th.regs.load(dreg, unclear, 0, int(n))
	i, ok := index(dreg)
	if ok {
		th.regs[i].port = of
	}
	m, f := nft.Value(mask), nft.Value(xor)
	if !ok || op != bitwiseBool || len(m) != int(n) || len(f) != int(n) || len(slots) == 0 || i+len(slots) > len(th.regs) {
		x.stay(th)
		return nil
	}
	for k, s := range slots {
		for j := range min(4, int(n)-4*k) {
			s.data[j] = s.data[j]&m[4*k+j] ^ f[4*k+j]
			s.mask[j] &= m[4*k+j]
		}
		s.settle()
		th.regs[i+k] = s
	}
	x.stay(th)
	return nil
}

// shift moves the bits of a number, which the kernel takes in the order of the machine
// (nft_bitwise_eval_lshift and _rshift).
func (x *run) shift(th *thread, sreg, dreg uint32, n int, op uint32, by []byte) error {
	for _, th := range guessed(th, th.regs.take(sreg, n)) {
		slots := th.regs.take(sreg, n)
		of, source := port(slots), openSource(slots)
		b, known := bytesOf(slots, 4)
		if known = known && len(slots) == 1 && len(by) == 4; known {
			value, bits := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(by)
			if value <<= bits; op == bitwiseRshift {
				value = binary.NativeEndian.Uint32(b) >> bits
			}
			th.regs.store(dreg, binary.NativeEndian.AppendUint32(nil, value))
		} else {
			th.regs.load(dreg, source, 0, n)
		}
		if i, ok := index(dreg); ok {
			th.regs[i].port = of
		}
		x.stay(&th)
	}
	return nil
}

// byteorder swaps the bytes of numbers of a size (nft_byteorder_eval).
func (x *run) byteorder(th *thread, a nft.Attrs) {
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
			th.regs.swap(dreg, slots, int(n), int(size))
		}
		x.stay(&th)
	}
}

// openSource is what a transformed value is: open, or not understood.
func openSource(slots []slot) source {
	if openness(slots) == Unknown {
		return unclear
	}
	return ofAnything
}

// tproxy leads to a socket of one family, or of both (nft_tproxy_eval).
func (x *run) tproxy(th *thread, a nft.Attrs) {
	family, _ := a.Num(1)
	if f := uint8(family); (f == nft.IPv4 || f == nft.IPv6) && f != x.family() {
		x.stay(th)
		return
	}
	x.out(th, translates, "tproxy", "", false)
}

// natTarget is where a dnat leads, "" if that is not known.
func natTarget(th *thread, a nft.Attrs, family uint8) string {
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
