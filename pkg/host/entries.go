// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
	"github.com/portguard/portguard/pkg/way"
)

// Entries are those who send packets from outside: for each link that leads there one that is
// on it, and one that is behind a gateway. Pods tells the links of pods, which do not.
func Entries(on *Addressing, pods []string) ([]way.Source, error) {
	links, routes, err := network()
	if err != nil {
		return nil, fmt.Errorf("could not read the links and routes of the node: %w", err)
	}
	var out []way.Source
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagUp == 0 || a.Flags&net.FlagLoopback != 0 || a.MasterIndex != 0 || slices.Contains(pods, a.Name) {
			continue
		}
		gates := gateways(routes, a.Index)
		if !leadsOut(l, links, len(gates) > 0) {
			continue
		}
		some, err := entries(on, l, gates)
		if err != nil {
			return nil, fmt.Errorf("could not read the addresses of %s: %w", a.Name, err)
		}
		out = append(out, some...)
	}
	return out, nil
}

// network reads all links, and the routes of all tables: rules may choose any.
func network() (links []netlink.Link, routes []netlink.Route, err error) {
	links, err = Complete(netlink.LinkList)
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		if err != nil {
			return nil, nil, err
		}
		var some []netlink.Route
		some, err = Complete(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(f, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		routes = append(routes, some...)
	}
	return links, routes, err
}

// gateways are the destinations behind a gateway of a link.
func gateways(routes []netlink.Route, index int) (out []netip.Prefix) {
	for _, r := range routes {
		via := r.Gw != nil || r.Via != nil || r.Dst == nil || r.Dst.IP.IsUnspecified()
		for _, hop := range r.MultiPath {
			via = via || hop.LinkIndex == index
		}
		if r.Type != unix.RTN_UNICAST || r.LinkIndex != index && len(r.MultiPath) == 0 || !via {
			continue
		}
		p := prefix(r.Dst)
		if r.Dst == nil {
			p = netip.PrefixFrom(map[bool]netip.Addr{true: netip.IPv4Unspecified(), false: netip.IPv6Unspecified()}[r.Family == netlink.FAMILY_V4], 0)
		}
		if p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

// leadsOut tells links to other machines from those to pods, containers and guests: tunnels
// of a pod network lead to pods of other nodes, and a bridge is a way out only if one of its
// ports is, or a gateway is behind it.
func leadsOut(l netlink.Link, all []netlink.Link, gateway bool) bool {
	switch l.Type() {
	case "dummy", "vxlan", "geneve", "ipip", "sit", "gre", "gretap", "ip6gre", "ip6tnl", "vti", "vti6", "erspan", "nlmon", "ifb":
		return false
	case "bridge", "openvswitch":
		return gateway || slices.ContainsFunc(all, func(port netlink.Link) bool {
			return port.Attrs().MasterIndex == l.Attrs().Index && !slices.Contains([]string{"veth", "tun", "dummy", "vxlan", "geneve"}, port.Type())
		})
	}
	return true
}

// entries are those who send by one link: a neighbour on each of its networks, and one that
// is behind its gateways.
func entries(on *Addressing, l netlink.Link, gates []netip.Prefix) (out []way.Source, err error) {
	link := walk.Link{Name: l.Attrs().Name, Index: l.Attrs().Index, Group: int(l.Attrs().Group)}
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		var own netip.Addr
		addrs, err := Complete(func() ([]netlink.Addr, error) { return netlink.AddrList(l, f) })
		if err != nil {
			return nil, err
		}
		for _, x := range addrs {
			if near := neighbour(on, prefix(x.IPNet)); near.IsValid() {
				own = prefix(x.IPNet).Addr()
				out = append(out, way.Source{Link: link, Addr: near, Node: own})
				break
			}
		}
		if far := behind(on, gates, f == netlink.FAMILY_V4); far.IsValid() {
			out = append(out, way.Source{Link: link, Addr: far, Node: own, Beyond: true})
		}
	}
	return out, nil
}

// neighbour is an address of a network that is not the node's.
func neighbour(on *Addressing, p netip.Prefix) netip.Addr {
	if !p.IsValid() || p.Bits() >= p.Addr().BitLen()-1 || p.Addr().IsLinkLocalUnicast() {
		return netip.Addr{}
	}
	for a := p.Masked().Addr().Next(); p.Contains(a); a = a.Next() {
		if !on.has(a) {
			return a
		}
	}
	return netip.Addr{}
}

// behind is an address that is reached by a gateway: an ordinary one of the Internet for a
// default route, since firewalls know special ones by name.
func behind(on *Addressing, gates []netip.Prefix, is4 bool) netip.Addr {
	for _, p := range gates {
		if p.Addr().Is4() == is4 && p.Bits() == 0 {
			return netip.MustParseAddr(map[bool]string{true: "12.7.210.1", false: "2600:7::1"}[is4])
		}
	}
	for _, p := range gates {
		if p.Addr().Is4() == is4 && !p.IsSingleIP() {
			return neighbour(on, p)
		}
	}
	return netip.Addr{}
}

func (a *Addressing) has(x netip.Addr) bool {
	return slices.ContainsFunc(a.Local, func(l hostport.Local) bool { return l.Prefix.Contains(x) }) || slices.Contains(a.Broadcasts, x)
}
