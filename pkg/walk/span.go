// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"encoding/binary"
	mathbits "math/bits"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// A field is a number of n bytes in a header, and the span of the values that it has in all packets
// that open a connection. Of is the protocol of the header, or the family of that of the network.
type field struct {
	of, at, n uint8
	lo, hi    uint16
}

// everything is where the length of the whole packet stands, which is in no header.
const everything = 255

// fields are those that do not have all values. A packet has a header of UDP at least, and nobody sends
// one with no hop left. Only later ones are longer than 65535 bytes.
func fields() [10]field {
	return [...]field{
		{nft.IPv4, 0, 1, 0x45, 0x4f}, // the version, and the length of the header in words
		{nft.IPv4, 2, 2, 28, 65535},
		{nft.IPv4, 8, 1, 1, 255},
		{nft.IPv4, everything, 4, 28, 65535},
		{nft.IPv6, 0, 1, 0x60, 0x6f},
		{nft.IPv6, 4, 2, 8, 65535}, // without its own header
		{nft.IPv6, 7, 1, 1, 255},
		{nft.IPv6, everything, 4, 48, 65535},
		{unix.IPPROTO_TCP, 12, 1, 0x50, 0xff}, // the length of the header in words
		{unix.IPPROTO_UDP, 4, 2, 8, 65535},
	}
}

// first reports whether packets to be expected open a connection, with the headers of their sender.
func (x *run) first(th *thread) bool {
	return !x.p.Later && !x.p.Answer && !x.p.Error && !th.b.doubtful
}

// bound gives a slot the span of the field that was loaded into it.
func (x *run) bound(th *thread, dreg uint32, of uint8, at, n uint32) {
	i, ok := index(dreg)
	for _, f := range fields() {
		if ok && f.of == of && uint32(f.at) == at && uint32(f.n) == n && x.first(th) {
			th.regs[i].lo, th.regs[i].hi = f.lo, f.hi
		}
	}
}

// swap is what the bytes of something open are in the other order. Of numbers their span stays known.
func (r *registers) swap(dreg uint32, slots []slot, n, size int) {
	of, s := openSource(slots), slot{}
	if len(slots) == 1 && slots[0].of == ofNumber && n == 4 && size == 4 && whole(slots) {
		of, s = ofSwapped, slots[0]
	}
	r.load(dreg, of, 0, n)
	if i, ok := index(dreg); ok {
		r[i].lo, r[i].hi = s.lo, s.hi
	}
}

// read is the number that bytes are.
func (s *slot) read(b []byte) (n uint32) {
	if s.of == ofNumber {
		return binary.NativeEndian.Uint32(b)
	}
	for _, c := range b {
		n = n<<8 | uint32(c)
	}
	return n
}

// span is that of the first n bytes in a slot: behind those that were loaded are zeros. What a mask
// leaves is in the order of the numbers if its bits are side by side, and those above them the same in all.
func (s *slot) span(n int) (lo, hi uint32, ok bool) {
	if s.of == known && n <= 4 {
		lo = s.read(s.data[:n])
		return lo, lo, true
	}
	size := 1
	switch {
	case s.of == ofNumber || s.of == ofSwapped:
		size = 4
	case s.hi > 255:
		size = 2
	}
	if s.hi == 0 || n < size || n > 4 {
		return 0, 0, false
	}
	lo, hi = uint32(s.lo)<<(8*(n-size)), uint32(s.hi)<<(8*(n-size))
	mask, flip := s.read(s.mask[:n]), s.read(s.data[:n])
	low := mask & -mask
	ordered := (lo^hi)>>mathbits.Len32(mask) == 0 && mask&(mask+low) == 0 && mask&flip == 0
	return lo&mask | flip, hi&mask | flip, ordered
}

// spans tells how many of the values of n bytes that slots may hold are between two; nil is no end. The
// kernel compares bytes, in whose order a number of the machine's is not.
func spans(slots []slot, n int, from, to []byte) Tri {
	if len(slots) != 1 || slots[0].of == ofNumber && !bytes.Equal(from, to) {
		return openness(slots)
	}
	lo, hi, ok := slots[0].span(n)
	least, most := slots[0].read(from), ^uint32(0)
	if to != nil {
		most = slots[0].read(to)
	}
	switch {
	case ok && least <= lo && hi <= most:
		return Yes
	case ok && (hi < least || most < lo):
		return No
	}
	return openness(slots)
}

// covers reports whether there is an element for each of the values that slots may have.
func covers(found []candidate, slots []slot) bool {
	s, left := &slots[0], ^uint32(0)
	for i, c := range found {
		from, to := c.elem.Key, c.elem.KeyEnd
		lo, hi, ok := s.span(len(from))
		if !ok || len(slots) != 1 || s.of == ofNumber && !bytes.Equal(from, to) || stateful(found) {
			return false
		}
		if i == 0 {
			left = hi - lo + 1
		}
		if lo, hi = max(lo, s.read(from)), min(hi, s.read(to)); lo <= hi {
			left -= hi - lo + 1
		}
	}
	return left == 0
}

// compared answers "slots op data" by spans.
func compared(slots []slot, op uint32, data []byte) Tri {
	from, to := data, data
	switch op {
	case cmpLT, cmpGTE:
		to = nil
	case cmpLTE, cmpGT:
		from = nil
	}
	t := spans(slots, len(data), from, to)
	if op == cmpNEQ || op == cmpLT || op == cmpGT {
		t = t.not()
	}
	return t
}

// number is a match of xtables that asks for a field, or for the length of the packet.
func (x *run) number(th *thread, i xt.Info) bool {
	from, to, not, ok := xt.Span(i)
	if !ok {
		return false
	}
	const reg = 8 // the first one
	switch at := uint32(8); i.Name {
	case "hl":
		at = 7
		fallthrough
	case "ttl":
		th.regs.load(reg, ofHeader, int(at), 1)
		x.bound(th, reg, x.family(), at, 1)
		x.recall(th, reg, baseNetwork, at, 1)
	default:
		th.regs.load(reg, ofAnything, 0, 2)
		x.bound(th, reg, x.family(), everything, 4)
	}
	t := spans(th.regs[:1], max(len(from), len(to)), from, to)
	if not {
		t = t.not()
	}
	x.apply(th, test{always: t})
	return true
}
