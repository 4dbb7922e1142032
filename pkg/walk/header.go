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
		x.write(th, base, off, n)
		return
	}
	src, dst, size := 12, 16, 4
	if x.family() == nft.IPv6 {
		src, dst, size = 8, 24, 16
	}
	at := int(off)
	th.regs.load(dreg, ofAnything, 0, int(n))
	switch {
	case base == 1 && at >= src && at+int(n) <= src+size:
		x.address(&th.regs, dreg, true, at-src, int(n))
	case base == 1 && at >= dst && at+int(n) <= dst+size:
		x.address(&th.regs, dreg, false, at-dst, int(n))
	case base == 1 && at == 9 && n == 1 && x.family() == nft.IPv4:
		th.regs.store(dreg, []byte{x.p.proto()})
	case base == 1 && at == 6 && n == 1 && x.family() == nft.IPv6:
		th.regs.load(dreg, ofNextHdr, 0, 1)
	case base == 2:
		x.ports(&th.regs, dreg, at, int(n))
	}
	x.stay(th)
}

// Rewrites is the target of rules that write into the destination of packets, which they
// may do at every hook and without conntrack.
const Rewrites = "rewrite"

// Bases of payload: headers from which offsets count.
const (
	baseLink      = 0
	baseNetwork   = 1
	baseTransport = 2
)

// write writes into the packet.
func (x *run) write(th *thread, base, off, n uint32) {
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
	case beyond(base, off+n, end):
		th.open = weaker(th.open, Some)
		x.out(th, translates, Rewrites, "", false)
		th.altered = true
	case base == baseNetwork && overlaps(src, dst): // and so may be any
		th.b.src, th.altered = addrset.All(x.family() == nft.IPv4), true
	}
	x.stay(th)
}

// beyond reports whether a write reaches from the header that it counts from into those behind
// it, up to the destination: how long its header is depends on the link, and on options. End is
// that of the network header without any.
func beyond(base, upTo, end uint32) bool {
	const ether, vlan, sport = 14, 2, 2 // a link without a header of its own has the destination behind these, too
	return base == baseLink && upTo > ether+vlan || base == baseNetwork && upTo > end+sport
}
