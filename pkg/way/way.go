// SPDX-License-Identifier: Apache-2.0

package way

import (
	"net/netip"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// A Side is where packets are from.
type Side uint8

// The sides.
const (
	Outside Side = iota // another machine
	Self                // a process of the node
	Pod                 // a pod of the node
)

// hook is the one that packets of a side pass first.
func (s Side) hook() walk.Hook {
	if s == Self {
		return walk.Output
	}
	return walk.Prerouting
}

// A Source stands for all who send packets to the node in one way.
type Source struct {
	Side Side
	// Link is the one by which they come in, and Addr the address of one of them. Both are
	// zero for the node itself, and where nothing is known.
	Link walk.Link
	Addr netip.Addr
	// Beyond is set if they are not on the link itself, but behind a gateway.
	Beyond bool
	// Node is the node's own address on that link, if it has one.
	Node netip.Addr
	// Itself is set for the pod that is to have its own packets.
	Itself bool
}

// A Query is one port of one protocol at one address of the node.
type Query struct {
	Proto hostport.Proto
	To    netip.AddrPort
}

// A Way is what becomes of the packets of one source to one address.
type Way struct {
	Source Source
	To     netip.Addr
	// Taker has them, nil if nobody does: the port is closed.
	Taker *conflict.Finding
	// Ended is set if they are refused for somebody who has nothing behind the port now, or
	// sent to one who is gone.
	Ended bool
	// Unless are others that take some of them, or may.
	Unless []conflict.Finding
	// Closed is what keeps them from the taker, or its answers from them, nil if the way is
	// open as far as this node can say.
	Closed *Closure
	// Detour is the link by which answers leave, if that is another one than the node's own
	// answers would leave by.
	Detour string
	// Masked is the rule of others that gives packets an address of the node as source, so that
	// the pod does not see who sends them.
	Masked string
	// Unheard says that nobody in the pod waits for the packets, "" if somebody does, or nobody
	// knows; Start is what to do about it.
	Unheard, Start string
}

// A Model is what is known of the node.
type Model struct {
	// Finder follows packets through all rules there are.
	Finder *conflict.Finder
	// Router is nil if routes cannot be asked for.
	Router Router
	// Senders, if set, are those who stand for all of a source where somebody has their packets
	// to an address: what a pod sends to itself may fare in another way than what others send.
	Senders func(src Source, taker conflict.Finding, to netip.Addr) ([]Source, error)
	// Straight, if set, reports whether the answers of a taker to a neighbour of its pod, or to
	// itself, which has asked for an address of the node, go past the node.
	Straight func(taker conflict.Finding, from Source, to netip.Addr) bool
	// Pods is nil if nobody can look into them.
	Pods Pods
}

// A Router asks the kernel for routes.
type Router interface {
	Route(q Route) (Leg, error)
}

// A Route asks where a packet goes that comes in by a link, or from the node itself.
type Route struct {
	Src, Dst netip.Addr
	In       string
	Mark     uint32
	// Proto and the ports are what rules for routing may ask for besides; a port is 0 if it is any.
	Proto        hostport.Proto
	Sport, Dport uint16
}

// A Leg is the answer: the link by which the packet goes on, and whether to a gateway, or why
// it does not.
type Leg struct {
	Out     walk.Link
	Gateway bool
	Fault   Fault
}

// A Fault is why the kernel does not route a packet.
type Fault uint8

// The faults.
const (
	None            Fault = iota
	NoRoute               // or one that says so
	Unforwarded           // the node forwards nothing of that family
	LinkUnforwarded       // or nothing that comes by that link
	ReversePath           // rp_filter: the answer would leave by another link
	NoWayBack             // rp_filter: there is no route for the answer
	Returned              // out again where it came in, to another machine
)

// maxFollowed is to how many addresses packets are followed for one question. Those to
// others are taken for lost where the first ones are that the same one has.
const maxFollowed = 32

// Claims are all claims on a port, of packets that come by a link.
type Claims map[walk.Link][]conflict.Finding

// Ways follows the packets of sources to addresses of one family each.
func (m *Model) Ways(q Query, to []netip.Addr, from []Source, found Claims) ([]Way, error) {
	var out []Way
	for n, addr := range to {
		q.To = netip.AddrPortFrom(addr, q.To.Port())
		for _, src := range from {
			if !src.sends(addr) {
				continue
			}
			ways, err := m.ways(q, src, found[src.Link], n < maxFollowed)
			if err != nil {
				return nil, err
			}
			if n >= maxFollowed {
				for i, w := range ways {
					ways[i].Closed = closedFor(out, w)
				}
			}
			out = append(out, ways...)
		}
	}
	return out, nil
}

// sends reports whether a source can send to an address.
func (s Source) sends(to netip.Addr) bool { return !s.Addr.IsValid() || s.Addr.Is4() == to.Is4() }

// closedFor is what closes a way of the same packets to the same taker.
func closedFor(ways []Way, w Way) *Closure {
	for _, o := range ways {
		if o.Source == w.Source && o.Taker != nil && w.Taker != nil && o.Taker.Who == w.Taker.Who && o.Taker.Where == w.Taker.Where {
			return o.Closed
		}
	}
	return nil
}

// ways follow the packets of a source, as those who stand for it send them.
func (m *Model) ways(q Query, src Source, found []conflict.Finding, follow bool) ([]Way, error) {
	w := Way{Source: src, To: q.To.Addr()}
	at := w.take(Sorted(found, src.Side.hook()))
	senders := []Source{src}
	if m.Senders != nil && w.Taker != nil {
		var err error
		if senders, err = m.Senders(src, *w.Taker, w.To); err != nil {
			return nil, err
		}
	}
	out := make([]Way, len(senders))
	for i, src := range senders {
		out[i] = w
		out[i].Source = src
		known := src.Side == Self || src.Addr.IsValid()
		if m.Router == nil || !known || w.Taker == nil || w.Ended || !follow {
			continue
		}
		t := trip{Model: m, w: &out[i], q: q, in: src.Link}
		if err := t.follow(at); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Shut is what closes the ways if it closes all of them, nil if some are open, or none is
// known.
func Shut(ways []Way) *Closure {
	var c *Closure
	for _, w := range ways {
		if w.Closed == nil {
			return nil
		}
		if c == nil {
			c = w.Closed
		}
	}
	return c
}
