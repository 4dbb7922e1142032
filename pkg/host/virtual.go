// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Virtual are the links that carry nothing but addresses, by name: those of type dummy, and
// bridges without ports; with their addresses that are in no network.
func Virtual() (map[string][]netip.Addr, error) {
	links, err := Complete(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("could not read the links of the node: %w", err)
	}
	ports, names := map[int]bool{}, map[int]string{}
	for _, l := range links {
		ports[l.Attrs().MasterIndex] = true
	}
	for _, l := range links {
		if t := l.Type(); t == "dummy" || t == "bridge" && !ports[l.Attrs().Index] {
			names[l.Attrs().Index] = l.Attrs().Name
		}
	}
	addrs, err := Complete(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("could not read the addresses of the node: %w", err)
	}
	out := map[string][]netip.Addr{}
	for _, x := range addrs {
		name, p := names[x.LinkIndex], prefix(x.IPNet)
		if name != "" && p.IsValid() && p.IsSingleIP() && !p.Addr().IsLinkLocalUnicast() {
			out[name] = append(out[name], p.Addr())
		}
	}
	return out, nil
}
