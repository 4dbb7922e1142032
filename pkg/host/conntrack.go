// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Flow describes UDP connections by their original destination and by where
// they lead.
type Flow struct {
	Mapping hostport.Mapping
	// Local reports whether a wildcard mapping claims an address.
	Local func(netip.Addr) bool
	// Pod is the target of the mapping.
	Pod netip.Addr
	// ToPod chooses the flows that lead to the pod (after DEL), otherwise
	// those that lead elsewhere (after ADD).
	ToPod bool
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f Flow) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	if c.Forward.Protocol != unix.IPPROTO_UDP || c.Forward.DstPort != f.Mapping.HostPort {
		return false
	}
	dst, ok1 := netip.AddrFromSlice(c.Forward.DstIP)
	from, ok2 := netip.AddrFromSlice(c.Reverse.SrcIP)
	if !ok1 || !ok2 {
		return false
	}
	dst, from = dst.Unmap(), from.Unmap()
	toPod := from == f.Pod && c.Reverse.SrcPort == f.Mapping.ContainerPort
	if toPod != f.ToPod {
		return false
	}
	if !f.Mapping.Wildcard() {
		return dst == f.Mapping.HostIP
	}
	return f.Local(dst)
}

// DropUDP forgets the flows, so that their next packet meets the rules as they
// are now. UDP has no handshake: an old entry would send a client that keeps
// its port to the old place for ever.
func DropUDP(f hostport.Family, flows []Flow) error {
	var filters []netlink.CustomConntrackFilter
	for _, fl := range flows {
		if fl.Mapping.Family == f && fl.Mapping.Proto == hostport.UDP {
			filters = append(filters, fl)
		}
	}
	if len(filters) == 0 {
		return nil
	}
	family := netlink.InetFamily(unix.AF_INET)
	if f == hostport.IPv6 {
		family = unix.AF_INET6
	}
	_, err := complete(func() (uint, error) {
		return netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filters...)
	})
	if err != nil {
		return fmt.Errorf("could not drop old UDP conntrack entries (%s): %w", f, err)
	}
	return nil
}
