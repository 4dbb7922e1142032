// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// Receiving are the links by which sockets that are bound to one receive what comes for an
// address: those that it is on, and their masters, because a socket of a VRF receives what comes
// in by its ports. There are none if nobody can tell: what comes for an address of lo or of a
// dummy comes in by others.
func (a *Addressing) Receiving(addr netip.Addr) (out []int) {
	for _, l := range a.Local {
		if !l.Prefix.Contains(addr) {
			continue
		}
		link, err := netlink.LinkByIndex(l.Link)
		if err != nil || link.Type() == "dummy" || link.Attrs().Flags&net.FlagLoopback != 0 {
			return nil
		}
		out = append(out, l.Link)
		if master := link.Attrs().MasterIndex; master != 0 {
			out = append(out, master)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
