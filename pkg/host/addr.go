// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// Complete repeats a dump that was interrupted by a change. What stays incomplete
// must not be used: an address that is missing would not be checked, and a port
// would be called free.
func Complete[T any](dump func() (T, error)) (out T, err error) {
	const maxTries = 5
	for range maxTries {
		if out, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, err
}

// An Addressing is what the node answers for.
type Addressing struct {
	// Local is the routing table "local", which is what iptables' addrtype
	// LOCAL asks. It may hold more than the addresses of links.
	Local []hostport.Local
	// Broadcasts are of the same table.
	Broadcasts []netip.Addr
	// Networks are those that the node's own addresses are in, without
	// loopback, link-local and infrastructure.
	Networks []netip.Prefix
	// Infrastructure are the links of infrastructure that exist, even those without addresses.
	Infrastructure []string
	// Shared are addresses on such a link that another one has, too, with the name of the former.
	Shared []hostport.Local
	// IPVS is set if that of kube-proxy's ipvs mode is among them.
	IPVS bool
	// Elsewhere is set if the node also answers for addresses of IPv6 by routes of other tables. Rules
	// that ask whether a destination is local mean these, too (nft_fib6_eval_type, xt_addrtype); of
	// IPv4 they mean table local alone (inet_dev_addr_type).
	Elsewhere bool
}

// NeverMapped are the addresses that no mapping of all captures: those of infrastructure, and
// broadcast addresses.
func (a *Addressing) NeverMapped() (out []netip.Prefix) {
	for _, l := range a.Local {
		if l.Infrastructure != "" {
			out = append(out, l.Prefix)
		}
	}
	for _, b := range a.Broadcasts {
		out = append(out, netip.PrefixFrom(b, b.BitLen()))
	}
	return out
}

// Addresses reads both families. Those of the links also are infrastructure's.
func Addresses(also hostport.Links) (*Addressing, error) {
	a := &Addressing{}
	if err := a.read(also); err != nil {
		return nil, fmt.Errorf("could not read the addresses of the node: %w", err)
	}
	return a, nil
}

func (a *Addressing) read(also hostport.Links) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE) // one socket for all requests
	if err != nil {
		return err
	}
	defer h.Close()
	infra, err := infrastructure(h, append(hostport.Infrastructure(), also...))
	if err != nil {
		return err
	}
	a.Infrastructure = slices.Sorted(maps.Values(infra))
	a.IPVS = slices.Contains(a.Infrastructure, hostport.IPVSLink)
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		if err := a.addRoutes(h, f, infra); err != nil {
			return err
		}
	}
	addrs, err := Complete(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	seen, others, on := map[netip.Prefix]bool{}, map[netip.Addr]string{}, map[netip.Addr]int{}
	for _, x := range addrs {
		if x.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == unix.IFA_F_TENTATIVE { // its route comes in a second
			a.Local = append(a.Local, hostport.Local{Prefix: netip.PrefixFrom(prefix(x.IPNet).Addr(), 128), Infrastructure: infra[x.LinkIndex], Link: x.LinkIndex})
		}
		on[prefix(x.IPNet).Addr()] = x.LinkIndex
		if link := infra[x.LinkIndex]; link == "" {
			a.addNetwork(prefix(x.IPNet), seen)
		} else {
			others[prefix(x.IPNet).Addr()] = link
		}
	}
	for i, l := range a.Local { // older kernels have the routes of IPv6 addresses on lo
		if link := others[l.Prefix.Addr()]; link != "" && l.Prefix.IsSingleIP() {
			if a.Local[i].Infrastructure = link; l.Infrastructure == "" && l.Link != loopbackIndex {
				a.Shared = append(a.Shared, a.Local[i])
			}
		}
		if link := on[l.Prefix.Addr()]; link != 0 && l.Prefix.IsSingleIP() && l.Link == loopbackIndex {
			a.Local[i].Link = link
		}
	}
	return nil
}

// loopbackIndex is that of lo in each network namespace (LOOPBACK_IFINDEX).
const loopbackIndex = 1

// addRoutes adds those of table local of a family, and of IPv6 looks for others. There may be thousands,
// so they are not listed first, and of other routes even more: the kernel leaves them out (Linux 4.20).
func (a *Addressing) addRoutes(h *netlink.Handle, family int, infra map[int]string) error {
	want := netlink.Route{Table: unix.RT_TABLE_LOCAL}
	if family == netlink.FAMILY_V6 { // which has no broadcast
		want = netlink.Route{Type: unix.RTN_LOCAL}
	}
	_ = h.SetStrictCheck(true) // else the library does
	defer func() { _ = h.SetStrictCheck(false) }()
	before := *a
	_, err := Complete(func() (none struct{}, _ error) {
		*a = before // an interrupted dump
		// Of routes of one prefix, which come one after another, the first is that of all packets: an address
		// may be its own broadcast ("192.0.2.5/32 brd 192.0.2.5", as of DHCP in some clouds).
		var of netip.Prefix
		var as int
		return none, h.RouteListFilteredIter(family, &want, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			p := prefix(r.Dst)
			if p != of {
				of, as = p, r.Type
			}
			if r.Type == as {
				a.addRoute(r, p, infra)
			}
			return true
		})
	})
	return err
}

func (a *Addressing) addRoute(r netlink.Route, p netip.Prefix, infra map[int]string) {
	switch {
	case r.Type == unix.RTN_LOCAL && r.Table != unix.RT_TABLE_LOCAL: // without a prefix it is for all
		a.Elsewhere = true
		return
	case !p.IsValid():
		return
	}
	switch r.Type {
	case unix.RTN_LOCAL:
		a.Local = append(a.Local, hostport.Local{Prefix: p, Infrastructure: infra[r.LinkIndex], Link: r.LinkIndex})
	case unix.RTN_BROADCAST:
		a.Broadcasts = append(a.Broadcasts, p.Addr())
	}
}

// addNetwork adds what is no network that was seen.
func (a *Addressing) addNetwork(p netip.Prefix, seen map[netip.Prefix]bool) {
	if !p.IsValid() || p.Addr().IsLoopback() || p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
		return
	}
	if p = p.Masked(); !seen[p] {
		seen[p] = true
		a.Networks = append(a.Networks, p)
	}
}

func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(ip.Unmap(), ones)
}

// infrastructure finds the links of those names, by their indices.
func infrastructure(h *netlink.Handle, names hostport.Links) (map[int]string, error) {
	out := map[int]string{}
	exact, all := names.Exact()
	if !all {
		links, err := Complete(h.LinkList)
		for _, l := range links {
			if name := l.Attrs().Name; names.Has(name) {
				out[l.Attrs().Index] = name
			}
		}
		return out, err
	}
	for _, name := range exact {
		if !mayExist(name) {
			continue
		}
		l, err := h.LinkByName(name)
		var none netlink.LinkNotFoundError
		if errors.As(err, &none) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[l.Attrs().Index] = name
	}
	return out, nil
}

// mayExist asks procfs, which is quicker than rtnetlink, and most nodes have no such
// link. One with addresses has sysctls (inetdev_init; only below the least MTU of
// IPv4 it has none).
func mayExist(link string) bool {
	return hasSysctls(link) || !hasSysctls("lo") // without those of lo procfs cannot tell
}

func hasSysctls(link string) bool {
	_, err := os.Stat(filepath.Join(sysctlDir, link))
	return err == nil
}
