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
	// Dst are the destinations that connections are opened to, of one family and all local. It
	// must not be empty.
	Dst addrset.Set
	// Port is the destination port there.
	Port uint16
	// Moved means that the packets were translated since, or that they answer some that were;
	// To is where to, as far as that is known.
	Moved bool
	To    netip.AddrPort
	// Answer means that the packets answer: they go from there to where the connection is from.
	Answer bool
	// Src are the sources of connections, none for any.
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
	// Error means that they are errors about packets of the connection (ICMP), from anywhere.
	Error bool
	// Beside means that nothing counts but what rules do to marks: the Result has no Paths, and
	// the end that asks may have any address, for there may be many rules, and masquerading.
	Beside bool
}

// Family returns the family of the destinations.
//
//go:noinline // it is called from many places
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
	if p.Hook == Prerouting || p.Hook == Output {
		b.src = b.src.And(senders(p.Family(), p.Hook == Prerouting))
	}
	b.in = p.comesBy()
	return Space{b}
}

// comesBy are the links that packets come by.
func (p Packet) comesBy() ifaces {
	switch {
	case p.In.Name != "":
		return ifaces{only: p.In.Name}
	case p.Hook == Prerouting, p.Hook == Ingress:
		// What arrives through lo was translated in OUTPUT already: its
		// connection is not NEW any more.
		return ifaces{except: []string{"lo"}, links: p.Links}
	case p.Hook == Output:
		return ifaces{only: "\x00"} // no interface: -i never matches in OUTPUT
	}
	return ifaces{}
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
		out[i].memory = out[i].memory.onward()
	}
	return out
}
