// SPDX-License-Identifier: Apache-2.0

package way

import (
	"fmt"
	"net/netip"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// Pods looks into the network namespaces of pods.
type Pods interface {
	// Look says how packets to a pod find it, nil if nobody can look into it from here.
	Look(v Visit) *Inside
	// Link says what is the matter with the node's link to a pod, "" if nothing is, or nobody
	// knows.
	Link(key hostport.Key) string
}

// A Visit asks about packets that leave the node for a pod.
type Visit struct {
	Key   hostport.Key
	Proto hostport.Proto
	To    netip.AddrPort
	// Client is whom the pod sees as the client: the zero Addr stands for the node's own address
	// on the link to the pod.
	Client netip.Addr
	// Masked is set if somebody gives the packets another source, which is not known.
	Masked bool
	// Itself is set if the pod has sent them itself.
	Itself bool
	// Out is the link of the node by which they leave, Beyond is set if they do so to a gateway.
	Out    walk.Link
	Beyond bool
}

// Inside is a pod's own network, and how the node and the pod see each other.
type Inside struct {
	// Enter is what a command begins with that is to run in the pod.
	Enter string
	// Link is the pod's by which the packets come. Peer is the node's end of it, without a name
	// if that is not known; Astray is set if the packets go to a bridge that has not got it.
	// Kept is set if the bridge does not send them back where they came from.
	Link, Peer   Port
	Astray, Kept bool
	// Lacks is set if the address is none of the pod's; its others are Has. Duplicate is set if
	// the kernel found that another machine has it (DAD).
	Lacks, Duplicate bool
	Has              []netip.Addr
	// Client is whom the pod answers, Back the route there, Node the node's address towards it.
	Client, Node netip.Addr
	Back         Leg
	// Past is set if that is by a link to elsewhere, and not to the node.
	Past bool
	// Near is the node's neighbour on the way to the pod, Far the pod's on the way back.
	Near, Far Neighbour
	// Unheard says that nobody in the pod waits for the packets, "" if somebody does, or nobody
	// knows.
	Unheard string
}

// A Port is an end of a link.
type Port struct {
	Name       string
	Gone, Down bool
}

// A Neighbour is what an end of a link thinks where the next address is.
type Neighbour struct {
	Addr netip.Addr
	// Failed is set if it asked just now, and got no answer.
	Failed bool
	// Wrong is a MAC that somebody wrote there by hand and that is not that of the address, Right
	// the one that is.
	Wrong, Right string
}

// inside follows packets into the pod, and its answers as far as its end of the link.
func (t *trip) inside() (open bool, err error) {
	claimed := t.w.Taker.Kind == finding.Claimed
	v := Visit{Key: t.w.Taker.Key, Proto: t.q.Proto, To: t.w.Taker.Target, Client: t.source(), Itself: t.w.Source.Itself, Out: t.p.Out, Beyond: t.beyond}
	if claimed && (t.p.Out == t.in && !t.w.Source.Beyond || v.Client.IsLoopback()) { // what portguard masquerades
		v.Client = netip.Addr{}
	}
	if v.Masked, err = t.masked(); err != nil {
		return false, err
	}
	if t.client = one(v.Client); v.Masked || !v.Client.IsValid() {
		t.client = addrset.All(t.w.To.Is4())
	}
	if t.Pods == nil || !claimed {
		return true, nil
	}
	in := t.Pods.Look(v)
	if in == nil {
		return true, nil
	}
	if in.Client.IsValid() && !v.Masked {
		t.client = one(in.Client)
	}
	if t.w.Closed = in.closed(v); t.w.Closed == nil {
		t.w.Unheard = in.Unheard
		if in.Unheard != "" {
			t.w.Start = "look what listens there (" + in.Enter + " ss -Hlntup), start it, and let it listen on all addresses"
		}
	}
	return t.w.Closed == nil, nil
}

// masked reports whether packets get another source than portguard gives them.
func (t *trip) masked() (bool, error) {
	if t.w.Masked != "" {
		return true, nil
	}
	_, may, err := t.Finder.Masks(t.p, t.left)
	return may, err
}

// closed is the first thing that keeps packets from the pod, or its answers from the node.
func (in *Inside) closed(v Visit) *Closure {
	for _, f := range []func(Visit) *Closure{in.linked, in.near, in.addressed, in.failed, in.back, in.far} {
		if c := f(v); c != nil {
			return c
		}
	}
	return nil
}

// again is the remedy that always helps: whoever made the pod's network makes it anew.
const again = "start the pod again"

func (in *Inside) linked(v Visit) *Closure {
	c := &Closure{Check: CheckLink, Remedy: again}
	switch {
	case in.Link.Gone:
		c.What = fmt.Sprintf("the pod has no link %s any more", in.Link.Name)
	case in.Link.Down:
		c.What = fmt.Sprintf("%s in the pod is down", in.Link.Name)
		c.Remedy += fmt.Sprintf(", or %s ip link set %s up and give it back what the kernel took away meanwhile: its routes, and addresses of IPv6", in.Enter, in.Link.Name)
	case in.Peer.Name != "" && in.Peer.Down:
		c.What = fmt.Sprintf("%s, the node's end of %s in the pod, is down", in.Peer.Name, in.Link.Name)
		c.Remedy = fmt.Sprintf("ip link set %s up", in.Peer.Name)
	case in.Astray:
		c.What = fmt.Sprintf("%s, the node's end of %s in the pod, is not in bridge %s any more", in.Peer.Name, in.Link.Name, v.Out.Name)
		c.Remedy = fmt.Sprintf("ip link set %s master %s", in.Peer.Name, v.Out.Name)
	case in.Kept:
		c.What = fmt.Sprintf("bridge %s does not send back by %s what came by it (hairpin is off)", v.Out.Name, in.Peer.Name)
		c.Remedy = fmt.Sprintf("bridge link set dev %s hairpin on; for pods to come set hairpinMode in the bridge's entry of the conflist", in.Peer.Name)
	default:
		return nil
	}
	return c
}

func (in *Inside) near(v Visit) *Closure {
	if in.Near.Wrong == "" {
		return nil
	}
	return &Closure{Check: CheckNeighbour, What: fmt.Sprintf("a permanent neighbour entry says that %s is at %s, and the pod is at %s", in.Near.Addr, in.Near.Wrong, in.Near.Right),
		Remedy: fmt.Sprintf("ip neigh del %s dev %s", in.Near.Addr, v.Out.Name)}
}

func (in *Inside) addressed(v Visit) *Closure {
	c := &Closure{Check: CheckAddress, Remedy: again}
	switch {
	case in.Duplicate:
		c.What = fmt.Sprintf("another machine has %s, too: the pod may not use it (dadfailed)", v.To.Addr())
		c.Remedy = "find who has it on " + v.Out.Name + ", and start the pod again"
	case !in.Lacks:
		return nil
	case len(in.Has) == 0:
		c.What = fmt.Sprintf("the pod has not got its address %s any more", v.To.Addr())
	default:
		c.What = fmt.Sprintf("the pod has not got its address %s any more, but %s", v.To.Addr(), in.Has[0])
	}
	return c
}

func (in *Inside) failed(v Visit) *Closure {
	if !in.Near.Failed {
		return nil
	}
	return &Closure{Check: CheckNeighbour, What: fmt.Sprintf("nobody on %s answers for %s", v.Out.Name, in.Near.Addr),
		Remedy: fmt.Sprintf("ip neigh show %s dev %s; does something filter there (nft list ruleset bridge, bridge link, bridge vlan), or in the pod (%s nft list ruleset)?", in.Near.Addr, v.Out.Name, in.Enter)}
}

func (in *Inside) back(v Visit) *Closure {
	switch in.Back.Fault {
	case None:
		if !in.Past {
			return nil
		}
		return &Closure{Check: CheckAnswer, Back: true, What: fmt.Sprintf("the pod's way to %s is by %s, past the node", in.Client, in.Back.Out.Name),
			Remedy: fmt.Sprintf("let it answer by the link that was asked: %s ip rule add from %s lookup 100; %[1]s ip route add default via %[3]s dev %[4]s table 100", in.Enter, v.To.Addr(), in.Node, in.Link.Name)}
	case ReversePath:
		return &Closure{Check: CheckReverse, What: fmt.Sprintf("rp_filter of %s in the pod is strict, and its way back to %s is not by %[1]s", in.Link.Name, in.Client),
			Remedy: fmt.Sprintf("%s sysctl -w net.ipv4.conf.%s.rp_filter=2, or repair the routes (%[1]s ip route)", in.Enter, in.Link.Name)}
	case Returned, NoRoute, NoWayBack, Unforwarded, LinkUnforwarded:
	}
	c := &Closure{Check: CheckRoute, Back: true, What: fmt.Sprintf("the pod has no route to %s", in.Client),
		Remedy: fmt.Sprintf("%s ip route get %s. A default route is for the plugin that made the link to give (isDefaultGateway, or routes of its ipam): put that right and %s", in.Enter, in.Client, again)}
	if in.Node.IsValid() {
		c.Remedy += fmt.Sprintf(", or %s ip route replace default via %s dev %s", in.Enter, in.Node, in.Link.Name)
	}
	return c
}

func (in *Inside) far(Visit) *Closure {
	switch {
	case in.Far.Wrong != "":
		return &Closure{Check: CheckNeighbour, Back: true, What: fmt.Sprintf("a permanent neighbour entry in the pod says that %s is at %s, and the node is at %s", in.Far.Addr, in.Far.Wrong, in.Far.Right),
			Remedy: fmt.Sprintf("%s ip neigh del %s dev %s", in.Enter, in.Far.Addr, in.Back.Out.Name)}
	case in.Far.Failed:
		return &Closure{Check: CheckNeighbour, Back: true, What: fmt.Sprintf("nobody answers the pod for %s", in.Far.Addr),
			Remedy: fmt.Sprintf("is that an address of the node, or proxy_arp of its end of the link on? %s ip neigh show %s; ip addr", in.Enter, in.Far.Addr)}
	}
	return nil
}

// Unheard says that none of those who wait for packets in a pod has those of a visit, "" if
// somebody has. Rules there may send them on to others.
func Unheard(v Visit, all []hostport.Listener, rules bool) string {
	what := fmt.Sprintf("%d/%s", v.To.Port(), v.Proto)
	out := "nothing listens on " + what + " in the pod"
	for _, l := range all {
		if l.Port != v.To.Port() || l.Proto != v.Proto || l.Bound {
			continue
		}
		if l.Covers(hostport.FamilyOf(v.To.Addr())) && (l.Addr.IsUnspecified() || l.Addr == v.To.Addr()) {
			return ""
		}
		out = fmt.Sprintf("in the pod %s is listened on at %s only", what, l.Addr)
	}
	if rules {
		out += ", unless its own rules lead it elsewhere"
	}
	return out
}
