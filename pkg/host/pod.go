// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/way"
)

// A pod is what was read of one.
type pod struct {
	*namespace
	home Home
	// id is what links of the node call its network namespace.
	id int
	// raw is set if somebody there takes packets off the links, guest if others than its kernel
	// have them: then its addresses, routes and sockets say nothing.
	raw, guest bool
	// end is the link by which packets come, once looked is set.
	end    netlink.Link
	looked bool
}

// A link is one of a pod, as both its ends see it.
type link struct {
	*pod
	node *namespace
	// Peer is the node's end and out the link of the node to which packets go; both may be nil.
	// They are one, or peer is in bridge out, if it is attached.
	peer, out netlink.Link
	attached  bool
	// filtered is set if rules see what bridges forward.
	filtered bool
}

// look asks both sides of the link.
func (x *pod) look(v way.Visit, node *namespace, filtered bool) *way.Inside {
	if !x.looked {
		x.arrive(v.To.Addr())
	}
	if x.end == nil && x.guest {
		return nil
	}
	in := &way.Inside{Enter: "nsenter --net=" + x.home.Path}
	l := link{pod: x, node: node, out: node.links[v.Out.Index], filtered: filtered}
	if l.end == nil {
		in.Link = way.Port{Name: x.home.IfName, Gone: true}
		return in
	}
	in.Link = port(l.end)
	if l.peer = x.peer(l.end, node); l.peer != nil {
		in.Peer = port(l.peer)
		l.attached = l.out != nil && (l.peer == l.out || l.peer.Attrs().MasterIndex == v.Out.Index)
		in.Astray = !v.Beyond && !l.attached && l.out != nil && l.out.Type() == "bridge" && l.peer.Attrs().MasterIndex == 0 && len(node.above(l.peer)) == 0
		in.Kept = v.Itself && filtered && l.attached && l.peer != l.out && keeps(l.peer)
	}
	if in.Link.Down || in.Peer.Down || in.Astray || in.Kept {
		return in
	}
	if !x.guest {
		x.addressed(in, v.To.Addr(), l.end)
	}
	if !v.Beyond && !in.Lacks {
		l.near(in, v)
	}
	if !x.guest && !in.Lacks && !in.Duplicate {
		l.answers(in, v)
	}
	return in
}

// keeps reports whether a bridge of the calling thread's network namespace sends nothing back by a port
// that came by it (hairpin). What is routed comes by the bridge itself; what rules translate on the bridge
// does not.
func keeps(port netlink.Link) bool {
	msgs, _ := Complete(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE)) // else the ports are not described
		return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	})
	for _, m := range msgs {
		if int(nl.DeserializeIfInfomsg(m).Index) == port.Attrs().Index {
			l, err := netlink.LinkDeserialize(&unix.NlMsghdr{Type: unix.RTM_NEWLINK}, m)
			return err == nil && l.Attrs().Protinfo != nil && !l.Attrs().Protinfo.Hairpin
		}
	}
	return false
}

// near asks the node for the neighbour that the pod is.
func (l *link) near(in *way.Inside, v way.Visit) {
	n := l.node.neighbour(v.Out.Index, v.To.Addr())
	if n == nil {
		return
	}
	in.Near = way.Neighbour{Addr: v.To.Addr(), Failed: l.node.silent(n)}
	if l.attached && written(n, l.end) && !l.node.hooked(l.peer) {
		in.Near.Wrong, in.Near.Right = n.HardwareAddr.String(), l.end.Attrs().HardwareAddr.String()
	}
}

// answers asks the pod for the route to whom it sees as the client, and for the neighbour there.
func (l *link) answers(in *way.Inside, v way.Visit) {
	in.Node = l.node.source(v.To.Addr(), v.Out.Index)
	if in.Client = v.Client; !in.Client.IsValid() || l.home.MasqAll {
		in.Client = in.Node
	}
	if v.Masked || !in.Client.IsValid() {
		return
	}
	next := l.back(in, v.To.Addr())
	in.Past = l.past(in.Back.Out.Index)
	if (in.Back.Fault != way.None || in.Past) && l.marks(in.Client) {
		in.Back, in.Past = way.Leg{}, false
		return
	}
	n := l.neighbour(in.Back.Out.Index, next)
	if in.Back.Fault != way.None || n == nil {
		return
	}
	in.Far = way.Neighbour{Addr: next, Failed: l.silent(n)}
	there := l.peer == l.out || l.node.address(next, v.Out.Index) != nil
	saved := l.filtered && l.peer != l.out && in.Client == in.Node // it is translated back on the bridge, and gets its MAC
	if l.attached && there && !saved && in.Back.Out.Index == l.end.Attrs().Index && written(n, l.out) && !l.node.hooked(l.peer) {
		in.Far.Wrong, in.Far.Right = n.HardwareAddr.String(), l.out.Attrs().HardwareAddr.String()
	}
}

// arrive finds the link by which packets to an address come: that of the ADD, or one that has
// been renamed. A guest with a tap may have all links.
func (x *pod) arrive(a netip.Addr) {
	x.looked = true
	if x.guest = slices.ContainsFunc(slices.Collect(maps.Values(x.links)), tap); x.guest {
		return
	}
	if x.end = x.link(x.home.IfName); x.end != nil {
		x.guest = x.foreign(x.end)
	} else if has := x.address(a, 0); has != nil {
		x.end = x.links[has.LinkIndex]
		x.guest = x.foreign(x.end)
	} else {
		x.guest = x.raw
	}
}

// peer is the node's end of a veth, nil if it is not on the node.
func (x *pod) peer(l netlink.Link, node *namespace) netlink.Link {
	peer := node.links[l.Attrs().ParentIndex]
	if l.Type() != "veth" || peer == nil || peer.Type() != "veth" || peer.Attrs().ParentIndex != l.Attrs().Index || peer.Attrs().NetNsID != x.id {
		return nil
	}
	return peer
}

// foreign reports whether others have the packets of a link: a bridge, a guest behind it, a
// program, or a network stack in a process, which takes the addresses off the link.
func (x *pod) foreign(l netlink.Link) bool {
	master := x.links[l.Attrs().MasterIndex]
	bare := !slices.ContainsFunc(x.addrs, func(a netlink.Addr) bool { return a.LinkIndex == l.Attrs().Index && !a.IP.IsLinkLocalUnicast() })
	shared := slices.ContainsFunc(x.above(l), func(kind string) bool { return kind != "vlan" })
	return master != nil && master.Type() != "vrf" || shared || x.raw && bare || x.hooked(l)
}

// above are the types of links that are made of a link.
func (n *namespace) above(l netlink.Link) (types []string) {
	for _, o := range n.links {
		if a := o.Attrs(); a.ParentIndex == l.Attrs().Index && a.NetNsID < 0 && o.Type() != "veth" {
			types = append(types, o.Type())
		}
	}
	return types
}

// tap reports whether a link is that of a guest.
func tap(l netlink.Link) bool {
	t, ok := l.(*netlink.Tuntap)
	return ok && t.Mode == netlink.TUNTAP_MODE_TAP || strings.HasSuffix(l.Type(), "vtap")
}

func port(l netlink.Link) way.Port {
	return way.Port{Name: called(l), Down: l.Attrs().RawFlags&unix.IFF_UP == 0}
}

// from are the options of a question for the route of what the pod sends by a link.
func (x *pod) from(l netlink.Link) (o netlink.RouteGetOptions) {
	if vrf := x.links[l.Attrs().MasterIndex]; vrf != nil {
		o.OifIndex = vrf.Attrs().Index
	}
	return o
}

// addressed looks whether the pod has its address.
func (x *pod) addressed(in *way.Inside, to netip.Addr, l netlink.Link) {
	if a := x.address(to, 0); a != nil {
		in.Duplicate = a.Flags&unix.IFA_F_DADFAILED != 0
		return
	}
	if in.Lacks = !x.has(to, x.from(l)); !in.Lacks {
		return
	}
	for _, a := range x.addrs {
		if has := prefix(a.IPNet).Addr(); a.LinkIndex == l.Attrs().Index && has.Is4() == to.Is4() && !has.IsLinkLocalUnicast() {
			in.Has = append(in.Has, has)
		}
	}
}

// back asks for the route of the pod's answers, and the next address there.
func (l *link) back(in *way.Inside, pod netip.Addr) (next netip.Addr) {
	o := l.from(l.end)
	o.SrcAddr = pod.AsSlice()
	var err error
	if in.Back, next, err = l.leg(in.Client, o); err != nil {
		return netip.Addr{}
	}
	if pod.Is4() && in.Back.Fault == way.None && in.Back.Out.Index != l.end.Attrs().Index && l.refuses(pod, in.Client, l.end) {
		in.Back.Fault = way.ReversePath
	}
	return next
}

// marks reports whether rules for routing go by marks, which the pod's own rules may set.
func (x *pod) marks(to netip.Addr) bool {
	found := false
	err := x.home.within(func(ns.NetNS) error {
		msgs, err := fibRules()
		for _, m := range msgs {
			r, err := decodeRule(m)
			found = found || err != nil || r.Family == hostport.FamilyOf(to) && r.Mask != 0 && !r.not
		}
		return err
	})
	return err != nil || found
}

// past reports whether a link of the pod leads elsewhere than to the node for certain: into a
// tunnel, or by a card of the node past its network stack.
func (l *link) past(index int) bool {
	x := l.links[index]
	if x == nil || index == l.end.Attrs().Index || x.Attrs().NetNsID < 0 && x.Attrs().ParentIndex == l.end.Attrs().Index {
		return false
	}
	return slices.Contains([]string{"tun", "tuntap", "wireguard", "macvlan", "ipvlan"}, x.Type())
}

// refuses reports whether the rp_filter of the pod's link drops what comes from an address.
func (x *pod) refuses(pod, from netip.Addr, l netlink.Link) bool {
	_, err := x.RouteGetWithOptions(pod.AsSlice(), &netlink.RouteGetOptions{SrcAddr: from.AsSlice(), IifIndex: l.Attrs().Index})
	if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EINVAL) { // EXDEV before Linux 6.15
		return false
	}
	strict := false
	err = x.home.within(func(ns.NetNS) error {
		strict = filters(l.Attrs().Name)
		return nil
	})
	return err == nil && strict
}

// What is written by hand is written for good. A group address is for everybody.
func written(n *netlink.Neigh, right netlink.Link) bool {
	mac := n.HardwareAddr
	return n.State&unix.NUD_PERMANENT != 0 && len(mac) == 6 && mac[0]&1 == 0 && !bytes.Equal(mac, right.Attrs().HardwareAddr)
}
