// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// A Hook is where the kernel asks rules.
type Hook string

// Packets from outside and from pods pass ingress, prerouting and input, those of the
// node's own processes output, and then prerouting and input, by way of lo. What was
// translated passes forward, or the rest of output, and postrouting.
const (
	Ingress     Hook = "INGRESS"
	Prerouting  Hook = "PREROUTING"
	Input       Hook = "INPUT"
	Output      Hook = "OUTPUT"
	Forward     Hook = "FORWARD"
	Postrouting Hook = "POSTROUTING"
)

// A Link is one of the node's, by its name and its number, and the group that it is in. The
// zero Link is not known.
type Link struct {
	Name         string
	Index, Group int
}

// A Packet is the set of packets to follow.
type Packet struct {
	Hook  Hook
	Proto hostport.Proto
	// Dst are the destinations, of one family and all local, or none of them once the
	// packets were translated. It must not be empty.
	Dst addrset.Set
	// Port is the destination port, of an answer the source port.
	Port uint16
	// Was is where packets were sent that were translated since, not valid for others.
	Was netip.AddrPort
	// Answer means that the packets answer some that were translated.
	Answer bool
	// Src are the sources, none for any.
	Src addrset.Set
	// In is the link that the packets come by. Links, if not nil, are those that they may come
	// by; otherwise that may be one that is not there yet.
	In    Link
	Links []Link
	// Local are all addresses of the node, nil if they are not known.
	Local addrset.Set
	// Absent means that Dst is not an address of the node now (a floating
	// hostIP), so the interface it would leave by is unknown.
	Absent bool
	// Out is the link that translated packets leave by.
	Out Link
	// Early means that conntrack has not seen the packets yet.
	Early bool
	// Later means that they do not open a connection, but go on with one.
	Later bool
}

// translated reports whether the packets, or those that they answer, were.
func (p Packet) translated() bool { return p.Was.IsValid() }

// local reports whether all destinations are the node's, and whether that is known.
func (p Packet) local() (local, known bool) {
	switch {
	case !p.translated():
		return true, true
	case p.Local == nil:
		return false, p.Hook == Forward || p.Hook == Postrouting
	}
	return len(p.Dst.Minus(p.Local)) == 0, true
}

// Family returns the family of the destinations.
func (p Packet) Family() hostport.Family { return hostport.FamilyOf(p.Dst[0].Lo) }

// Start are the packets before the first rule of the first hook. They open a connection,
// whose mark is 0. So is their own when they come from another machine or network
// namespace (skb_scrub_packet); but programs of BPF may have set it, and the node's
// processes can (SO_MARK).
func (p Packet) Start() Space {
	b := box{dst: p.Dst, src: addrset.All(p.Family() == hostport.IPv4), mark: guess(0), ctMark: number(0)}
	if len(p.Src) > 0 {
		b.src = p.Src
	}
	switch p.Hook {
	case Prerouting:
		// What arrives through lo was translated in OUTPUT already: its
		// connection is not NEW any more.
		b.in = ifaces{except: []string{"lo"}, links: p.Links}
		b.src = b.src.And(senders(p.Family(), true))
	case Output:
		b.in.only = "\x00" // no interface: -i never matches in OUTPUT
		b.src = b.src.And(senders(p.Family(), false))
	case Ingress, Input, Forward, Postrouting: // nobody starts there
	}
	if p.In.Name != "" {
		b.in = ifaces{only: p.In.Name}
	}
	return Space{b}
}

// senders are the sources that connections can have. From multicast addresses and unspecified
// ones nothing comes, from ::1 nothing by another link than lo: what does is dropped before the
// hook (ip6_rcv_core), at routing (ip_route_input_slow: martian source), or gets no answer
// (RFC 4291, 2.5.2). A socket of the node does not send from them. Of 0.0.0.0/8 only the first
// address is unspecified since Linux 5.3 (ipv4_is_zeronet).
func senders(f hostport.Family, outside bool) addrset.Set {
	if f == hostport.IPv4 {
		v4 := func(b ...byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }
		return addrset.Set{{Lo: v4(0, 0, 0, 1), Hi: v4(223, 255, 255, 255)}, {Lo: v4(240, 0, 0, 0), Hi: v4(255, 255, 255, 254)}}
	}
	first := netip.IPv6Loopback()
	if outside {
		first = first.Next()
	}
	return addrset.Between(first, netip.AddrFrom16([16]byte{0: 0xff}).Prev())
}

// Looped are the packets of s after they went out by lo and came in again.
func (s Space) Looped() Space {
	out := slices.Clone(s)
	for i := range out {
		out[i].in = ifaces{only: "lo"}
	}
	return out
}
