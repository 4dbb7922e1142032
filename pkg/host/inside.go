// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/way"
)

// A namespace is what a network namespace has. The handle asks it from wherever.
type namespace struct {
	*netlink.Handle
	links map[int]netlink.Link
	addrs []netlink.Addr
	hooks map[int]bool
	// neighbours are those of a family, once they were read; waited is how long for their answers.
	neighbours map[int][]netlink.Neigh
	waited     time.Duration
}

// readNamespace reads that of the calling thread.
func readNamespace() (*namespace, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	n := &namespace{Handle: h, links: map[int]netlink.Link{}, neighbours: map[int][]netlink.Neigh{}}
	links, err := Complete(h.LinkList)
	for _, l := range links {
		n.links[l.Attrs().Index] = l
	}
	if err == nil {
		n.addrs, err = Complete(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	}
	if err == nil {
		n.hooks, err = hooks()
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return n, nil
}

// called is what a link is called in words. Who makes a link in a pod gives it any name, and a
// person may run what is printed.
func called(l netlink.Link) string {
	a := l.Attrs()
	odd := func(c rune) bool {
		return !strings.ContainsRune("-_.@", c) && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	}
	if a.Name == "" || a.Name[0] == '-' || strings.ContainsFunc(a.Name, odd) {
		return fmt.Sprintf("if%d", a.Index)
	}
	return a.Name
}

// link is that of a name, nil if there is none.
func (n *namespace) link(name string) netlink.Link {
	for _, l := range n.links {
		if l.Attrs().Name == name {
			return l
		}
	}
	return nil
}

// address is that of a link, or of any link with index 0, nil if there is none.
func (n *namespace) address(a netip.Addr, index int) *netlink.Addr {
	i := slices.IndexFunc(n.addrs, func(x netlink.Addr) bool {
		return prefix(x.IPNet).Addr() == a && (index == 0 || x.LinkIndex == index)
	})
	if i < 0 {
		return nil
	}
	return &n.addrs[i]
}

// has reports whether packets to an address are for the namespace itself.
func (n *namespace) has(a netip.Addr, o netlink.RouteGetOptions) bool {
	if n.address(a, 0) != nil {
		return true
	}
	routes, err := n.RouteGetWithOptions(a.AsSlice(), &o)
	return err != nil && !routeless(err) || len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
}

// source is the own address as which packets to another are masqueraded, the zero Addr if there
// is none. Of IPv4 that is one of the link, whatever the route prefers (inet_select_addr): the
// first that is not secondary, or one whose network the other is in.
func (n *namespace) source(to netip.Addr, link int) (from netip.Addr) {
	for _, a := range n.addrs {
		p := prefix(a.IPNet)
		if a.LinkIndex != link || !to.Is4() || !p.Addr().Is4() || a.Scope != unix.RT_SCOPE_UNIVERSE || a.Flags&unix.IFA_F_SECONDARY != 0 {
			continue
		}
		if from.IsValid() && !p.Contains(to) {
			continue
		}
		if from = p.Addr(); p.Contains(to) {
			return from
		}
	}
	if !from.IsValid() {
		if routes, err := n.RouteGet(to.AsSlice()); err == nil && len(routes) > 0 {
			from, _ = netip.AddrFromSlice(routes[0].Src)
			from = from.Unmap()
		}
	}
	return from
}

// hooked reports whether programs or actions have the packets of a link before the kernel asks
// for their addresses, or after.
func (n *namespace) hooked(l netlink.Link) bool {
	if x := l.Attrs().Xdp; x != nil && x.Attached {
		return true
	}
	return n.hooks[l.Attrs().Index]
}

// hooks are the links of the calling thread's network namespace where filters of tc may have all
// packets: those with a qdisc ingress or clsact. QdiscList would bring every qdisc there is.
func hooks() (map[int]bool, error) {
	msgs, err := Complete(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
		req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC})
		return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	})
	out := map[int]bool{}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofTcMsg:])
		if err != nil {
			return nil, err
		}
		for _, a := range attrs {
			if kind := string(bytes.TrimRight(a.Value, "\x00")); a.Attr.Type == nl.TCA_KIND && (kind == "ingress" || kind == "clsact") {
				out[int(nl.DeserializeTcMsg(m).Ifindex)] = true
			}
		}
	}
	return out, err
}

// gateway is the next address on a route to another one, the zero Addr if that is of another
// family.
func gateway(r netlink.Route, to netip.Addr) netip.Addr {
	switch gw, ok := netip.AddrFromSlice(r.Gw); {
	case r.Via != nil:
		return netip.Addr{}
	case ok:
		return gw.Unmap()
	}
	return to
}

// packetSocket reports whether somebody in the calling thread's network namespace takes packets
// off the links, as a network stack of its own does.
func packetSocket() bool {
	b, err := os.ReadFile("/proc/thread-self/net/packet")
	return err != nil || bytes.Count(b, []byte("\n")) > 1 // the first line is the heading
}

// leg is a route as package way has it.
func (n *namespace) leg(to netip.Addr, o netlink.RouteGetOptions) (leg way.Leg, next netip.Addr, err error) {
	routes, err := n.RouteGetWithOptions(to.AsSlice(), &o)
	switch {
	case routeless(err):
		return way.Leg{Fault: way.NoRoute}, next, nil
	case err != nil || len(routes) == 0:
		return leg, next, errors.Join(err, os.ErrNotExist)
	}
	r := routes[0]
	leg.Gateway, leg.Out.Index = r.Gw != nil || r.Via != nil, r.LinkIndex
	if l := n.links[r.LinkIndex]; l != nil {
		leg.Out.Name = called(l)
	}
	if r.Type == unix.RTN_UNICAST {
		next = gateway(r, to)
	}
	return leg, next, nil
}
