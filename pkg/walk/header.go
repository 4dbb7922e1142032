// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/nft"
)

// payload loads header bytes: addresses and the destination port are followed,
// the rest is open.
func (x *run) payload(th *thread, a nft.Attrs) {
	f := a.Fields()
	dreg, _ := f.Num(1)
	base, _ := f.Num(2)
	off, _ := f.Num(3)
	n, _ := f.Num(4)
	if f[5] != nil {
		sreg, _ := f.Num(5)
		x.write(th, base, off, n, th.regs.take(sreg, int(n)))
		return
	}
	src, dst, size := 12, 16, 4
	if x.family() == nft.IPv6 {
		src, dst, size = 8, 24, 16
	}
	at := int(off)
	th.regs.load(dreg, ofHeader, elsewhereAt, int(n))
	switch {
	case base == 1 && at >= src && at+int(n) <= src+size:
		x.address(&th.regs, dreg, true, at-src, int(n))
	case base == 1 && at >= dst && at+int(n) <= dst+size:
		x.address(&th.regs, dreg, false, at-dst, int(n))
	case base == 1 && at == 9 && n == 1 && x.family() == nft.IPv4:
		th.regs.store(dreg, []byte{x.p.proto()})
	case base == 1 && at == 6 && n == 1 && x.family() == nft.IPv6:
		th.regs.load(dreg, ofNextHdr, 0, 1)
	case base == baseNetwork:
		th.regs.load(dreg, ofHeader, at, int(n))
	case base == 2 && at == flagsOffset && n == 1 && x.opens(th):
		x.expected(th, dreg, flagSYN)
		return
	case base == 2:
		x.ports(&th.regs, dreg, at, int(n))
		x.bound(th, dreg, x.p.proto(), off, n)
	case base == baseLink && x.p.Hook == Output: // there is none yet, which ends the rule
		x.misses(th)
		return
	}
	if base == baseNetwork {
		x.bound(th, dreg, x.family(), off, n)
	}
	x.recall(th, dreg, base, off, n)
	x.stay(th)
}

// Rewrites is the target of rules that write into the destination of packets, which they
// may do at every hook and without conntrack.
const Rewrites = "rewrite"

// ether is how long most headers of links are.
const ether = 14

// Bases of payload: headers from which offsets count.
const (
	baseLink      = 0
	baseNetwork   = 1
	baseTransport = 2
)

// Strands is the target of rules behind which packets are not forwarded any more, and so do
// not get to a pod.
const Strands = "strand"

// write writes what slots hold into the packet.
func (x *run) write(th *thread, base, off, n uint32, slots []slot) {
	src, dst, end := uint32(12), uint32(16), uint32(20)
	if x.family() == nft.IPv6 {
		src, dst, end = 8, 24, 40
	}
	overlaps := func(from, to uint32) bool { return off < to && from < off+n }
	switch {
	case x.p.Moved || x.p.Answer: // it is not on its way to the port
		th.b.src, th.altered = addrset.All(x.family() == nft.IPv4), true
	case base == baseLink && x.p.Hook == Output: // there is none yet, which ends the rule
		x.misses(th)
		return
	case base == baseNetwork && overlaps(dst, end), base == baseTransport && overlaps(2, 4):
		x.out(th, translates, Rewrites, "", false)
		return
	case base == baseNetwork && x.remakes(slots, off, n):
		x.out(th, translates, Rewrites, "", false)
		return
	case beyond(base, off+n, end):
		th.open = weaker(th.open, Some)
		x.out(th, translates, Rewrites, "", false)
		th.altered = true
	case base == baseNetwork && overlaps(src, dst): // and so may be any
		th.b.src, th.altered = addrset.All(x.family() == nft.IPv4), true
	}
	if base == baseLink && off+n > ether || base == baseNetwork && off+n > end {
		th.b.memory = th.b.memory.onward() // nobody knows what they are now
	}
	x.wrote(th, base, off, n, slots)
	if base == baseNetwork && x.expires(slots, off, n) {
		x.strand(th)
	}
	x.stay(th)
}

// strand lets packets go on that will not be forwarded: nobody has them but who is on the node.
func (x *run) strand(th *thread) {
	if x.p.Hook != Prerouting && x.p.Hook != Ingress || x.p.Answer { // whoever gets those may be the node
		return
	}
	x.out(th, ends, Strands, "", false)
	*th = *th.doubted()
}

// remakes reports whether a write into the network header makes something else of the packet: its
// version and lengths, its fragments and the protocol must stay. nft writes whole words, with
// what it has loaded there in the bytes, and bits, that are not meant.
func (x *run) remakes(slots []slot, off, n uint32) bool {
	const fragment = 6 // and 7, of IPv4
	keep := map[uint32]byte{0: 0xff, 2: 0xff, 3: 0xff, fragment: 0x3f, fragment + 1: 0xff, 9: 0xff}
	proto := uint32(9)
	if x.family() == nft.IPv6 {
		keep, proto = map[uint32]byte{0: 0xf0, 4: 0xff, 5: 0xff, 6: 0xff}, 6
	}
	for i := range n {
		at := off + i
		bits := keep[at]
		if bits == 0 {
			continue
		}
		if int(i/4) >= len(slots) {
			return true
		}
		s, j := slots[i/4], i%4
		fixed := s.of == known || s.mask[j]&bits == 0
		inPlace := s.of == ofHeader && uint32(s.off)+j == at
		switch {
		case inPlace && s.mask[j]&bits == bits && s.data[j]&bits == 0:
		case at == proto && fixed && s.data[j] == x.p.proto():
		case x.r.is4 && (at == fragment || at == fragment+1) && (inPlace || fixed) && s.data[j]&bits == 0: // a whole packet
		default:
			return true
		}
	}
	return false
}

// expires reports whether a write leaves packets no hop to go.
func (x *run) expires(slots []slot, off, n uint32) bool {
	at := uint32(8)
	if x.family() == nft.IPv6 {
		at = 7
	}
	i := at - off
	if at < off || i >= n || int(i/4) >= len(slots) {
		return false
	}
	s := slots[i/4]
	return (s.of == known || s.mask[i%4] == 0) && s.data[i%4] <= 1
}

// beyond reports whether a write reaches from the header that it counts from into those behind
// it, up to the destination: how long its header is depends on the link, and on options. End is
// that of the network header without any.
func beyond(base, upTo, end uint32) bool {
	const vlan, sport = 2, 2 // a link without a header of its own has the destination behind these, too
	return base == baseLink && upTo > ether+vlan || base == baseNetwork && upTo > end+sport
}
