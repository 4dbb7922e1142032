// SPDX-License-Identifier: Apache-2.0

package way

import (
	"fmt"
	"net/netip"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
)

// A Closure is a place at which the way ends.
type Closure struct {
	// Check is what doctor calls it.
	Check string
	// What says it: "net.ipv4.conf.eth0.forwarding is 0".
	What string
	// Back is set if it is the answer that does not get through.
	Back bool
	// Remedy says what to do, with the tool that made it.
	Remedy string
}

// The names of what closes a way.
const (
	CheckFilter  = "forward-drop"
	CheckForward = "forwarding"
	CheckReverse = "rp-filter"
	CheckRoute   = "route"
	CheckAnswer  = "answer"
	// Of the pod and its link.
	CheckLink      = "pod-link"
	CheckAddress   = "pod-address"
	CheckNeighbour = "neighbour"
)

// Checks are those names.
func Checks() []string {
	return []string{CheckFilter, CheckForward, CheckReverse, CheckRoute, CheckAnswer, CheckLink, CheckAddress, CheckNeighbour}
}

// String says what the closure is, and of which direction.
func (c Closure) String() string {
	if c.Back {
		return "the answer is lost: " + c.What
	}
	return c.What
}

// stopped is the closure of packets that rules keep back.
func stopped(t *trip, s *conflict.Stop) *Closure {
	c := &Closure{Check: CheckFilter, What: "dropped by " + s.Where, Back: t.p.Answer, Remedy: opening(t, s)}
	if s.Untracks && !s.Rest {
		c.What = "taken out of connection tracking, so that nothing translates it, by " + s.Where
	}
	return c
}

// faulty is the closure of packets that the kernel does not route.
func faulty(t *trip, f Fault, in string) *Closure {
	c, to := &Closure{Back: t.p.Answer || f == NoWayBack}, t.goal()
	if f == NoWayBack {
		to = t.source()
	}
	v4 := hostport.FamilyOf(t.w.To) == hostport.IPv4
	switch f {
	case LinkUnforwarded:
		c.Check, c.What = CheckForward, fmt.Sprintf("%s does not forward: net.ipv4.conf.%[1]s.forwarding is 0", in)
		c.Remedy = fmt.Sprintf("sysctl -w net.ipv4.conf.%s.forwarding=1", in)
	case Unforwarded:
		name := map[bool]string{true: "net.ipv4.ip_forward", false: "net.ipv6.conf.all.forwarding"}[v4]
		c.Check, c.What, c.Remedy = CheckForward, "the node does not forward: "+name+" is 0", "sysctl -w "+name+"=1"
	case ReversePath:
		c.Check, c.What = CheckReverse, fmt.Sprintf("rp_filter of %s is strict, and the way back to %s is not by %[1]s", in, t.w.Source.Addr)
		c.Remedy = fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2 (the greater of all and the link's counts), or repair the routes", in)
	case Returned:
		c.Check, c.What = CheckRoute, fmt.Sprintf("what comes from %s for %s is routed out by %s again", t.w.Source.Addr, t.goal(), in)
		c.Remedy = fmt.Sprintf("ip route get %s from %s iif %s; is the link to the pod up (ip -br link)? If a rule of ip rule leads there: ip rule add to %[1]s lookup main, or for the network of the pods", t.goal(), t.w.Source.Addr, in)
	default:
		c.Check, c.What = CheckRoute, "there is no route to "+to.String()
		c.Remedy = "ip route get " + to.String() + "; is the link there up (ip -br link), or does a route of type blackhole, unreachable or prohibit lead there (ip route), or such a rule (ip rule)? The pod's network is the business of the plugin that made its interface"
	}
	if c.Check == CheckRoute && t.source().IsLoopback() { // the kernel has none where route_localnet is off
		c.What += " from 127.0.0.1 (if route_localnet is off there: portguard restore)"
	}
	if t.Pods != nil && c.Check == CheckRoute && !c.Back && t.w.Taker.Kind == finding.Claimed {
		if why := t.Pods.Link(t.w.Taker.Key); why != "" {
			c.What += ": " + why
		}
	}
	return c
}

// homeless is the closure of packets that the node sends to ::1: they are from there, too, and
// the kernel lets none of these out (RFC 4291, 2.5.3).
func homeless(to netip.AddrPort) *Closure {
	return &Closure{Check: CheckRoute, What: fmt.Sprintf("nothing from ::1 gets to %s", to), Remedy: "use 127.0.0.1, or an address of the node"}
}

// past is the closure of packets of one pod to another, or to itself, that answers past the node,
// which would have to give the answers the address that was asked.
func past(t *trip) *Closure {
	who := fmt.Sprintf("pods on %s answer each other, or themselves, past the node, and nobody masquerades what they send", t.in.Name)
	other := t.w.Source
	if other.Itself = false; other != t.w.Source && !t.Straight(*t.w.Taker, other, t.w.To) {
		who = "the pod answers itself past the node, and nobody masquerades what it sends"
	}
	remedy := fmt.Sprintf("where the node has got %s since the pod was added, start the pod again; with \"snat\": false ask the pod's own address", t.w.To)
	if t.w.Taker.Cut&hostport.Unmasked != 0 {
		remedy = "portguard restore puts back what would masquerade it"
	}
	return &Closure{Check: CheckAnswer, Back: true, What: fmt.Sprintf("%s to %s", who, t.w.To), Remedy: remedy}
}

// Straighten is what to do about a detour: answers go where their connection came from, by a
// mark.
func (w Way) Straighten() string {
	return fmt.Sprintf("mark connections that come by %[1]s and route their answers by the mark: iptables -t mangle -A PREROUTING -i %[1]s -m conntrack --ctstate NEW -j CONNMARK --set-mark 0x77; "+
		"iptables -t mangle -A PREROUTING ! -i %[1]s -m connmark --mark 0x77 -j CONNMARK --restore-mark; ip rule add fwmark 0x77 lookup TABLE, the table of ip rule for %[2]s", w.Source.Link.Name, w.To)
}
