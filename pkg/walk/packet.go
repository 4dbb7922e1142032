// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// A Hook is a base chain: of table nat where a destination can be translated, or
// FORWARD, which packets pass whose destination was.
type Hook string

// Packets from outside and from pods pass PREROUTING, those of the node's own
// processes OUTPUT.
const (
	Prerouting Hook = "PREROUTING"
	Output     Hook = "OUTPUT"
	Forward    Hook = "FORWARD"
)

// A Packet is the set of packets to follow.
type Packet struct {
	Hook  Hook
	Proto hostport.Proto
	// Dst are the destinations, of one family and all local, or for Forward none
	// of them. It must not be empty.
	Dst  addrset.Set
	Port uint16
	// Src are the sources, none for any.
	Src addrset.Set
	// NotIn are links that the packets do not come by.
	NotIn []string
	// Local are all addresses of the node, nil if they are not known.
	Local addrset.Set
	// Absent means that Dst is not an address of the node now (a floating
	// hostIP), so the interface it would leave by is unknown.
	Absent bool
	// Out is the interface that a packet at Forward leaves by, "" if not known.
	Out string
}

// Family returns the family of the destinations.
func (p Packet) Family() hostport.Family { return hostport.FamilyOf(p.Dst[0].Lo) }

// start are the packets before the first rule.
func (p Packet) start() space {
	b := box{dst: p.Dst, src: addrset.All(p.Family() == hostport.IPv4)}
	if len(p.Src) > 0 {
		b.src = p.Src
	}
	switch p.Hook {
	case Prerouting:
		// What arrives through lo was translated in OUTPUT already: its
		// connection is not NEW any more.
		b.in.except = append([]string{"lo"}, p.NotIn...)
		if p.Family() == hostport.IPv6 {
			// ip6_rcv_core drops these before the hook, unless they come by lo.
			never := addrset.Of(netip.MustParsePrefix("::1/128")).Or(addrset.Of(netip.MustParsePrefix("ff00::/8")))
			b.src = b.src.And(never.Not(false))
		}
	case Output:
		b.in.only = "\x00" // no interface: -i never matches in OUTPUT
	case Forward:
		// Portguard sets no marks, and what kube-proxy marks is not ours.
		b.mark = bits{known: ^uint32(0)}
	}
	return space{b}
}
