// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"fmt"
	"net/netip"

	"github.com/portguard/portguard/pkg/addrset"
)

// A Program is one of BPF, of type sk_lookup, that is attached to the network namespace: it
// chooses the socket for any packet that opens a connection (TCP) or comes unasked (UDP).
type Program struct {
	ID uint32
	// Name is "" if it has none, or nobody may ask.
	Name string
}

// String names it as bpftool knows it.
func (p Program) String() string {
	if p.Name == "" {
		return fmt.Sprintf("BPF program %d (sk_lookup)", p.ID)
	}
	return fmt.Sprintf("BPF program %d (sk_lookup %q)", p.ID, p.Name)
}

// Programs are those that are attached.
type Programs struct {
	Attached []Program
	// Unknown is why nobody may ask for them, "" if they are known.
	Unknown string
	// Nested is set if the network namespace belongs to a user namespace: its root cannot attach
	// any, so only root of the machine could have, from outside.
	Nested bool
}

// A VirtualServer is one of IPVS: what it takes at the node's input it sends to one of its
// real servers.
type VirtualServer struct {
	Proto Proto
	Addr  netip.Addr
	// Port is 0 for all of them.
	Port uint16
	// Mark is that of the packets of a server without an address.
	Mark uint32
}

// ByMark reports whether a server takes packets by their mark.
func (v VirtualServer) ByMark() bool { return !v.Addr.IsValid() }

// String is as ipvsadm names it.
func (v VirtualServer) String() string {
	if v.ByMark() {
		return fmt.Sprintf("fwmark %d", v.Mark)
	}
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(v.Addr, v.Port), v.Proto)
}

// A RouteRule is one of policy routing that is asked before table local: what it leads
// elsewhere is not the node's, although its destination is an address of the node.
type RouteRule struct {
	Family Family
	// Text is the rule as ip prints it.
	Text string
	// Src, Dst, In, Mark and Mask, Proto and Ports restrict it, unless they are zero.
	Src, Dst   netip.Prefix
	In         string
	Mark, Mask uint32
	Proto      Proto
	Ports      [2]uint16
	// Vague is set if it is restricted in another way too, or to all but the above.
	Vague bool
	// Routed are the destinations that it leads elsewhere.
	Routed addrset.Set
}
