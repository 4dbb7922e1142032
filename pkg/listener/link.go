// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"net"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// nameDevices replaces the numbers of the links that sockets are bound to by their names, and
// says which of them rules can match. To one whose link is gone since, nothing comes any more: it is
// left out.
func (r *Reader) nameDevices(ls []hostport.Listener) []hostport.Listener {
	bound := func(l hostport.Listener) bool { return l.Device != "" }
	if r.links == nil || !slices.ContainsFunc(ls, bound) {
		return ls
	}
	links, err := r.links() // later than the sockets
	if err != nil {
		return ls // they count as bound, with a name or without
	}
	known := map[string]netlink.Link{}
	for _, x := range links {
		known[deviceNumber(uint32(x.Attrs().Index))] = x
	}
	ls = slices.DeleteFunc(ls, func(l hostport.Listener) bool { return bound(l) && known[l.Device] == nil })
	for i, l := range ls {
		if x := known[l.Device]; x != nil {
			ls[i].Device = x.Attrs().Name
			if seenAs(x, known) {
				ls[i].Link = x.Attrs().Index
			}
		}
	}
	return ls
}

// seenAs reports whether in prerouting packets have come in by the same link as for a socket
// that is bound to it. It is another one:
//   - for a VRF, its ports and ipvlan, which change it in between (l3mdev_ip_rcv);
//   - for links on top of a bridge or its ports: the bridge asks the rules before it hands
//     the packets over, if it asks them (br_netfilter, br_nf_pre_routing).
//
// By lo the node's own packets come in, which are translated in output. The other ports of
// masters receive nothing.
func seenAs(l netlink.Link, known map[string]netlink.Link) bool {
	const deepest = 8 // as MAX_NEST_DEV; of a pair of veth each is the other's parent
	a := l.Attrs()
	if a.Flags&net.FlagLoopback != 0 || a.MasterIndex != 0 || l.Type() == "vrf" || l.Type() == "ipvlan" || !iptsave.Nameable(a.Name) {
		return false
	}
	for range deepest {
		if a.ParentIndex == 0 || a.NetNsID >= 0 { // none, or in another namespace
			return true
		}
		below, ok := known[deviceNumber(uint32(a.ParentIndex))]
		if !ok || below.Type() == "bridge" || below.Attrs().MasterIndex != 0 {
			return false
		}
		if a = below.Attrs(); a.ParentIndex == l.Attrs().Index {
			return true
		}
	}
	return false
}

// nameLinks fills in the tunnels whose sockets the kernel holds itself, as far as it tells
// their ports. Links are asked for only if there is a UDP socket without a process.
func (r *Reader) nameLinks(ls []hostport.Listener) {
	if r.links == nil {
		return
	}
	var ports map[uint16]string
	for i, l := range ls {
		if l.Proto != hostport.UDP || !l.Kernel() {
			continue
		}
		if ports == nil {
			ports = tunnels(r.links)
		}
		ls[i].Holder.Link = ports[l.Port]
	}
}

// tunnels are the links with a UDP port of their own, by that port.
func tunnels(list func() ([]netlink.Link, error)) map[uint16]string {
	out := map[uint16]string{}
	links, _ := list() // the socket is refused, with a name or without
	for _, l := range links {
		port := 0
		switch t := l.(type) {
		case *netlink.Vxlan:
			port = t.Port
		case *netlink.Geneve:
			port = int(t.Dport)
		case *netlink.BareUDP:
			port = int(t.Port)
		}
		if port > 0 {
			out[uint16(port)] = l.Type() + " " + l.Attrs().Name
		}
	}
	return out
}
