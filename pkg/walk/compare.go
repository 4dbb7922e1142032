// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// Comparison operators (NFT_CMP_*).
const (
	cmpEQ  = 0
	cmpNEQ = 1
	cmpLT  = 2
	cmpLTE = 3
	cmpGT  = 4
	cmpGTE = 5
)

// A test is the answer of a comparison: Yes or No, or a condition on what the
// walk keeps track of, or open.
type test struct {
	always Tri
	// cond decides instead, if isCond is set.
	cond   cond
	isCond bool
	// anyOf, if there are some, must hold, or with not none of them may.
	anyOf []conds
	not   bool
}

// testOn is the test of one condition.
func testOn(c cond) test { return test{cond: c, isCond: true} }

// testOf is the test of one of several conditions, or of none of them.
func testOf(anyOf []conds, not bool) test {
	switch {
	case len(anyOf) == 0:
		return test{always: yesIf(not)}
	case slices.ContainsFunc(anyOf, func(all conds) bool { return len(all) == 0 }): // it holds for all
		return test{always: yesIf(!not)}
	case len(anyOf) == 1 && len(anyOf[0]) == 1:
		c := anyOf[0][0]
		c.not = not
		return testOn(c)
	}
	return test{anyOf: anyOf, not: not}
}

// compare answers "slots op data".
func compare(slots []slot, op uint32, data []byte, p *Packet) test {
	if b, ok := bytesOf(slots, len(data)); ok {
		return test{always: yesIf(holds(bytes.Compare(b, data), op))}
	}
	of, ok := oneSource(slots)
	if !ok {
		of = ofAnything
	}
	switch of {
	case ofDst, ofSrc:
		if c, ok := addrCond(slots, op, data, p.Family() == hostport.IPv4); ok {
			c.kind = sideOf(of)
			return testOn(c)
		}
	case ofIn, ofInIndex, ofInGroup, ofInType:
		if t, ok := linkTest(slots, op, data, *p); ok {
			return t
		}
	case ofMark, ofCtMark:
		if c, ok := markCond(of, slots[0], op, data); ok {
			return testOn(c)
		}
	case ofSrcType:
		if never(data) && (op == cmpEQ || op == cmpNEQ) {
			return test{always: yesIf(op == cmpNEQ)}
		}
		if c, ok := typeCond(op, data, *p); ok {
			return testOn(c)
		}
	case ofLinkType:
		if elsewhere(data) && (op == cmpEQ || op == cmpNEQ) {
			return test{always: yesIf(op == cmpNEQ)}
		}
	case ofNextHdr:
		return test{always: nextHeader(op, data, *p)}
	case ofPorts:
		return test{always: ports(slots[0], op, data, p.port())}
	case ofAnything, known, ofHeader, ofNumber, ofSwapped, unclear:
	}
	return test{always: compared(slots, op, data)}
}

// ports compares both ports: the destination port alone can rule out that they
// are equal.
func ports(s slot, op uint32, data []byte, port uint16) Tri {
	if len(data) != 4 || op != cmpEQ && op != cmpNEQ {
		return Some
	}
	for i, b := range binary.BigEndian.AppendUint16(nil, port) {
		if b&s.mask[2+i]^s.data[2+i] != data[2+i] {
			return yesIf(op == cmpNEQ)
		}
	}
	return Some
}

// nextHeader: the field is the protocol unless there are extension headers (IANA
// lists those of IPv6).
func nextHeader(op uint32, data []byte, p Packet) Tri {
	if len(data) != 1 || op != cmpEQ && op != cmpNEQ {
		return Some
	}
	if data[0] == p.proto() || bytes.IndexByte([]byte{0, 43, 44, 50, 51, 60, 135, 139, 140, 253, 254}, data[0]) >= 0 {
		return Some
	}
	return yesIf(op == cmpNEQ)
}

// never reports whether no connection has a source of the routing type: one from
// a broadcast address is dropped at routing (fib_validate_source), or without
// rp_filter never gets an answer, no socket of the node sends from one (inet_bind), and IPv6
// has none.
func never(data []byte) bool {
	const broadcast = 3
	return len(data) == 4 && binary.NativeEndian.Uint32(data) == broadcast
}

// elsewhere reports whether no address of the node has a routing type at any link, nor has a
// source. At another one than its own an address of IPv4 is UNICAST (__inet_dev_addr_type);
// what IPv6 says depends on the routes.
func elsewhere(data []byte) bool {
	const broadcast, multicast = 3, 5
	n := binary.NativeEndian.Uint32(append(data[:len(data):len(data)], 0, 0, 0, 0))
	return len(data) == 4 && (n == broadcast || n == multicast)
}

// typeCond reads a comparison of the routing type of the source (RTN_*).
func typeCond(op uint32, data []byte, p Packet) (cond, bool) {
	const unicast, local = 1, 2
	if p.Local == nil || len(data) != 4 || op != cmpEQ && op != cmpNEQ {
		return cond{}, false
	}
	c := cond{kind: onSrc, not: op == cmpNEQ}
	switch binary.NativeEndian.Uint32(data) {
	case local:
		c.addrs = p.Local
	case unicast: // of IPv6 by the routes, and not all have one
		is4 := p.Family() == hostport.IPv4
		c.addrs, c.loose = p.Local.Not(is4), !is4
	default:
		return c, false
	}
	return c, true
}

// openness is Unknown if something in slots was not understood.
func openness(slots []slot) Tri {
	for _, s := range slots {
		if s.of == unclear || (s.of == ofMark || s.of == ofCtMark) && !s.free {
			return Unknown
		}
	}
	return Some
}

func holds(c int, op uint32) bool {
	switch op {
	case cmpEQ:
		return c == 0
	case cmpNEQ:
		return c != 0
	case cmpLT:
		return c < 0
	case cmpLTE:
		return c <= 0
	case cmpGT:
		return c > 0
	}
	return c >= 0
}

// addrCond reads a comparison of an address, or of its first bytes or bits.
func addrCond(slots []slot, op uint32, data []byte, is4 bool) (cond, bool) {
	size := 16
	if is4 {
		size = 4
	}
	if len(data) > size {
		return cond{}, false
	}
	a, ones, ok := prefix(slots, data, size)
	if !ok {
		return cond{}, false
	}
	set := addrset.Of(netip.PrefixFrom(a, ones))
	if op == cmpEQ || op == cmpNEQ {
		return cond{addrs: set, not: op == cmpNEQ}, true
	}
	if ones != size*8 {
		return cond{}, false
	}
	all := addrset.All(is4)[0]
	switch op {
	case cmpLTE:
		return cond{addrs: addrset.Between(all.Lo, a)}, true
	case cmpGT:
		return cond{addrs: addrset.Between(all.Lo, a), not: true}, true
	case cmpGTE:
		return cond{addrs: addrset.Between(a, all.Hi)}, true
	}
	return cond{addrs: addrset.Between(a, all.Hi), not: true}, true // cmpLT
}

// prefix is what the address has to begin with to equal data.
func prefix(slots []slot, data []byte, size int) (a netip.Addr, ones int, ok bool) {
	if len(data) == size && whole(slots) {
		a, ok = netip.AddrFromSlice(data)
		return a, size * 8, ok
	}
	var mask, flip []byte
	for _, s := range slots {
		mask, flip = append(mask, s.mask[:]...), append(flip, s.data[:]...)
	}
	mask, flip = mask[:len(data)], flip[:len(data)]
	ones, ok = prefixLen(mask)
	if !ok || !bytes.Equal(flip, make([]byte, len(flip))) {
		return a, 0, false
	}
	for i := range data {
		if data[i]&^mask[i] != 0 {
			return a, 0, false
		}
	}
	a, ok = netip.AddrFromSlice(append(bytes.Clone(data), make([]byte, size-len(data))...))
	return a, ones, ok
}

// prefixLen counts the leading ones of a mask that has no other.
func prefixLen(mask []byte) (int, bool) {
	ones, zero := 0, false
	for i := range len(mask) * 8 {
		one := mask[i/8]>>(7-i%8)&1 == 1
		if one && zero {
			return 0, false
		}
		zero = zero || !one
		if one {
			ones++
		}
	}
	return ones, true
}

// ifPattern reads an interface name: 16 bytes with a NUL, or the first bytes of
// the names that a wildcard means.
func ifPattern(data []byte) string {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return string(data[:i])
	}
	if len(data) >= 16 {
		return string(data)
	}
	return string(data) + "+"
}

// markCond reads a comparison of (mark & mask) ^ data with a number.
func markCond(of source, s slot, op uint32, data []byte) (cond, bool) {
	if len(data) != 4 || op != cmpEQ && op != cmpNEQ {
		return cond{}, false
	}
	kind := onMark
	if of == ofCtMark {
		kind = onCtMark
	}
	mask, flip := binary.NativeEndian.Uint32(s.mask[:]), binary.NativeEndian.Uint32(s.data[:])
	return cond{kind: kind, value: binary.NativeEndian.Uint32(data) ^ flip, mask: mask, not: op == cmpNEQ}, true
}
