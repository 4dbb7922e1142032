// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"cmp"

	"github.com/vishvananda/netlink"

	"github.com/portguard/portguard/pkg/hostport"
)

// nameDevices replaces the numbers of the links that sockets are bound to by their names. One
// that is gone keeps its number.
func (r *Reader) nameDevices(ls []hostport.Listener) {
	var names map[string]string
	for i, l := range ls {
		if l.Device == "" || r.links == nil {
			continue
		}
		if names == nil {
			names = map[string]string{}
			links, _ := r.links() // the socket counts as bound, with a name or without
			for _, x := range links {
				names[deviceNumber(uint32(x.Attrs().Index))] = x.Attrs().Name
			}
		}
		ls[i].Device = cmp.Or(names[l.Device], l.Device)
	}
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
