// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// A Stale describes the UDP flows of one mapping that must be forgotten. UDP has
// no handshake: an old entry would send a client that keeps its port to the old
// place for ever.
type Stale struct {
	Mapping hostport.Mapping
	// Dst are the original destinations that are the mapping's.
	Dst addrset.Set
	// Pod is the target of the mapping.
	Pod netip.Addr
	// Gone chooses the flows that lead to the pod (after DEL); otherwise those
	// that lead elsewhere (after ADD).
	Gone bool
	// Others are destinations at which somebody else translates: flows that
	// were translated there are not ours.
	Others addrset.Set
	// Connected are the peers of the node's own connected sockets, whose flows
	// nobody may take.
	Connected []netip.AddrPort
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s Stale) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	src, ok1 := addrPort(c.Forward.SrcIP, c.Forward.SrcPort)
	dst, ok2 := addrPort(c.Forward.DstIP, c.Forward.DstPort)
	from, ok3 := addrPort(c.Reverse.SrcIP, c.Reverse.SrcPort)
	if c.Forward.Protocol != unix.IPPROTO_UDP || !ok1 || !ok2 || !ok3 ||
		dst.Port() != s.Mapping.HostPort || !s.Dst.Contains(dst.Addr()) {
		return false
	}
	// Of a mapping with conditions the kernel does not tell the pod's port.
	toPod := from.Addr() == s.Pod && (s.Mapping.ContainerPort == 0 || from.Port() == s.Mapping.ContainerPort)
	switch {
	case s.Gone:
		return toPod
	case toPod:
		return false
	case from == dst: // nobody translated it
		return !slices.Contains(s.Connected, src)
	}
	return !s.Others.Contains(dst.Addr())
}

func addrPort(ip []byte, port uint16) (netip.AddrPort, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port), ok
}

// DropUDP forgets the flows of family f, so that their next packet meets the
// rules as they are now.
func DropUDP(f hostport.Family, stale []Stale) error {
	var filters []netlink.CustomConntrackFilter
	for _, s := range stale {
		if s.Mapping.Family == f && s.Mapping.Proto == hostport.UDP {
			filters = append(filters, s)
		}
	}
	if len(filters) == 0 {
		return nil
	}
	family := netlink.InetFamily(unix.AF_INET)
	if f == hostport.IPv6 {
		family = unix.AF_INET6
	}
	_, err := Complete(func() (uint, error) {
		return netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filters...)
	})
	if err != nil {
		return fmt.Errorf("could not drop old UDP conntrack entries (%s): %w; until they expire, clients may be sent to the old place", f, err)
	}
	return nil
}
