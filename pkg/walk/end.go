// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// A connection has two ends: the one that asks, and the one that is asked, which is another one
// than it was sent to if it was translated. Boxes hold the ends as the connection was opened; of
// packets on their way to the one that is asked, that is the destination, of answers the source.

// asked reports whether an address of the packets, their source or their destination, is that
// of the end that is asked.
func (p Packet) asked(src bool) bool { return src == p.Answer }

// port is that of the end that is asked, 0 if it is not known.
func (p Packet) port() uint16 {
	switch {
	case p.Error:
		return 0
	case p.Moved:
		return p.To.Port()
	}
	return p.Port
}

// proto is the protocol of the packets themselves.
func (p Packet) proto() uint8 {
	switch {
	case p.Error && p.Family() == hostport.IPv4:
		return unix.IPPROTO_ICMP
	case p.Error:
		return unix.IPPROTO_ICMPV6
	}
	return uint8(p.Proto)
}

// local reports whether an address of the packets is the node's, and whether that is known of
// all of them.
func (p Packet) local(src bool) (local, known bool) {
	switch to := p.To.Addr(); {
	case p.Error:
		return false, false
	case !p.asked(src):
		return false, p.Hook == Forward && !src
	case !p.Moved:
		return true, true
	case !to.IsValid():
		return false, false
	case p.Local == nil:
		return false, p.Hook == Forward || p.Hook == Postrouting
	default:
		return p.Local.Contains(to), true
	}
}

// open reports whether nothing is known of an address of the packets.
func (p Packet) open(src bool) bool {
	if p.asked(src) {
		return p.Error || p.Moved && !p.To.Addr().IsValid()
	}
	return p.Error || p.Beside
}

// within is the condition that an address of the packets is in a set.
func (p Packet) within(src bool, addrs addrset.Set) cond {
	all := addrset.All(p.Family() == hostport.IPv4)
	switch {
	case p.open(src):
		return cond{kind: onDst, addrs: all, loose: true}
	case !p.asked(src):
		return cond{kind: onSrc, addrs: addrs}
	case !p.Moved:
		return cond{kind: onDst, addrs: addrs}
	case addrs.Contains(p.To.Addr()):
		return cond{kind: onDst, addrs: all}
	}
	return cond{kind: onDst}
}

// address loads n bytes of an address of the packets, from byte at on.
func (x *run) address(r *registers, dreg uint32, src bool, at, n int) {
	switch {
	case x.p.open(src):
		r.load(dreg, ofAnything, 0, n)
	case !x.p.asked(src):
		r.load(dreg, ofSrc, at, n)
	case !x.p.Moved:
		r.load(dreg, ofDst, at, n)
	default:
		r.store(dreg, x.p.To.Addr().AsSlice()[at:at+n])
	}
}

// addressType loads the routing type of an address of the packets.
func (x *run) addressType(r *registers, dreg uint32, src bool) {
	const unicast, local = 1, 2
	switch here, known := x.p.local(src); {
	case known && here:
		r.store(dreg, binary.NativeEndian.AppendUint32(nil, local))
	case known:
		r.store(dreg, binary.NativeEndian.AppendUint32(nil, unicast))
	case !x.p.asked(src) && !x.p.open(src):
		r.load(dreg, ofSrcType, 0, 4)
	}
}

// ports loads n bytes of the transport header, from byte at on, as far as they are ports.
func (x *run) ports(r *registers, dreg uint32, at, n int) {
	own := map[bool]int{false: 2, true: 0}[x.p.Answer] // where that of the end that is asked is
	switch port := x.p.port(); {
	case port == 0:
	case at >= own && at+n <= own+2:
		r.storePort(dreg, port, at-own, n)
	case at == 0 && n == 4 && !x.p.Answer: // nft joins "sport 1 dport 2" to one load
		r.load(dreg, ofPorts, 0, 4)
		x.hop.NamesPort = true
	}
}
