// SPDX-License-Identifier: Apache-2.0

package way

import (
	"net/netip"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// A trip follows packets to the one who has them, and the answers back.
type trip struct {
	*Model
	w *Way
	q Query
	// in is the link by which the packets come.
	in   walk.Link
	p    walk.Packet
	left walk.Space
	// beyond is set if they leave to a gateway.
	beyond bool
	// client is whom the one who has the packets sees as their source, and answers: portguard
	// masquerades some, and others may.
	client addrset.Set
}

func one(a netip.Addr) addrset.Set { return addrset.Between(a, a) }

// follow follows packets that are taken at a point. Where a translation leads to an unknown
// place nothing more is known of them.
func (t *trip) follow(at conflict.Point) error {
	to := t.w.Taker.Target
	translated := at.Stage == conflict.Translation
	if translated && (!to.IsValid() || to.Port() == 0) || hostport.FamilyOf(t.w.To) != hostport.FamilyOf(t.source()) {
		return nil
	}
	t.p = walk.Packet{Hook: t.w.Source.Side.hook(), Proto: t.q.Proto, Dst: one(t.w.To), Src: one(t.source()), Port: t.q.To.Port(), In: t.in}
	t.left = t.p.Start()
	if !translated {
		_, err := t.all(t.arrive, t.deliver, t.reply)
		return err
	}
	if t.w.To == netip.IPv6Loopback() && !to.Addr().IsLoopback() {
		t.w.Closed = homeless(to)
		return nil
	}
	_, err := t.all(
		func() (bool, error) { return t.pass(conflict.PrioFirst, at.Priority) },
		func() (bool, error) { return t.translate(to, at.Priority) },
		t.onward,
		t.masks,
		t.inside,
		t.answer,
	)
	return err
}

// source is the address that packets are from. Those of the node to itself have the one they
// are for.
func (t *trip) source() netip.Addr {
	if t.w.Source.Side == Self {
		return t.w.To
	}
	return t.w.Source.Addr
}

// goal is where the packets go.
func (t *trip) goal() netip.Addr {
	switch {
	case t.p.Answer:
		return t.source()
	case t.p.Moved:
		return t.p.To.Addr()
	}
	return t.w.To
}

// all takes steps until one of them ends the way.
func (t *trip) all(steps ...func() (bool, error)) (open bool, err error) {
	for _, step := range steps {
		if open, err = step(); err != nil || !open {
			return open, err
		}
	}
	return true, nil
}

// pass sends the packets through the rest of a hook.
func (t *trip) pass(from, to int32) (open bool, err error) {
	left, stop, err := t.Finder.Pass(t.p, t.left, from, to)
	if stop != nil && (!stop.Untracks || t.w.Taker.Target.IsValid()) {
		t.w.Closed = stopped(t, stop)
	}
	t.left = left
	return t.w.Closed == nil, err
}

func (t *trip) whole() (bool, error) { return t.pass(conflict.PrioFirst, conflict.PrioLast) }

// arrive sends packets that nobody translates to the local sockets.
func (t *trip) arrive() (open bool, err error) {
	if open, err := t.whole(); err != nil || !open {
		return open, err
	}
	if t.w.Source.Side == Self {
		return t.all(t.leave, t.comeBack)
	}
	leg, err := t.route(Route{Src: t.w.Source.Addr, Dst: t.w.To, In: t.in.Name, Dport: t.q.To.Port()})
	if err == nil && (leg.Fault == ReversePath || leg.Fault == NoWayBack) {
		t.w.Closed = faulty(t, leg.Fault, t.in.Name)
	}
	return t.w.Closed == nil, err
}

// leave and comeBack send packets of the node to itself out by lo, and in again.
func (t *trip) leave() (bool, error) {
	t.p.Hook, t.p.Out = walk.Postrouting, loopback()
	return t.whole()
}

func (t *trip) comeBack() (bool, error) {
	t.left, t.p.Hook, t.p.In, t.p.Out = t.left.Looped(), walk.Prerouting, loopback(), walk.Link{}
	return t.whole()
}

func loopback() walk.Link { return walk.Link{Name: "lo", Index: 1} }

func (t *trip) deliver() (bool, error) {
	t.p.Hook = walk.Input
	return t.whole()
}

// reply asks for the route of what a socket answers, unless it is bound to a link.
func (t *trip) reply() (bool, error) {
	if t.w.Source.Side == Self || t.w.Taker.Kind != finding.Listener || t.w.Taker.By != "" {
		return true, nil
	}
	t.p.Answer = true
	t.left = t.left.Answered(t.p)
	return t.routed(Route{Src: t.w.To, Dst: t.w.Source.Addr, Sport: t.q.To.Port()})
}

// translate gives the packets their new destination, and sends them through what of the hook
// is behind that.
func (t *trip) translate(to netip.AddrPort, at int32) (open bool, err error) {
	t.p.Moved, t.p.To = true, to
	if t.w.Source.Side == Self { // they are routed anew before the rest of output
		if open, err = t.routed(Route{Src: t.source(), Dst: to.Addr(), Dport: to.Port()}); err != nil || !open {
			return open, err
		}
		return t.pass(at, conflict.PrioLast)
	}
	if open, err = t.pass(at, conflict.PrioLast); err != nil || !open {
		return open, err
	}
	return t.routed(Route{Src: t.w.Source.Addr, Dst: to.Addr(), In: t.in.Name, Dport: to.Port()})
}

// onward sends them out by the link that they were routed to, up to where their source is
// translated.
func (t *trip) onward() (open bool, err error) {
	if t.p.In.Name != "" {
		t.p.Hook = walk.Forward
		if open, err = t.whole(); err != nil || !open {
			return open, err
		}
	}
	t.p.Hook = walk.Postrouting
	return t.pass(conflict.PrioFirst, -conflict.PrioIptables)
}

// behind sends them through what of their last hook is behind that: with sources from there on.
func (t *trip) behind(from addrset.Set) (bool, error) {
	t.left = t.left.From(from)
	return t.pass(-conflict.PrioIptables, conflict.PrioLast)
}

// masks notes who gives packets from outside another source on their way to a pod.
func (t *trip) masks() (open bool, err error) {
	if t.w.Source.Side == Outside && t.w.Taker.Kind == finding.Claimed {
		t.w.Masked, _, err = t.Finder.Masks(t.p, t.left)
	}
	return true, err
}

// answer sends the answer back to another machine, to the node itself, or to another pod, by
// the link that its packets came by or straight.
func (t *trip) answer() (open bool, err error) {
	if open, err = t.behind(t.client); err != nil || !open {
		return open, err
	}
	from := t.in
	if t.w.Source.Side == Pod && t.Straight != nil && t.p.Out == from && t.Straight(*t.w.Taker, t.w.Source, t.w.To) {
		t.w.Closed = past(t)
		return false, nil
	}
	t.p.Hook, t.p.Answer, t.p.In, t.p.Out = walk.Prerouting, true, t.p.Out, walk.Link{}
	t.left = t.left.Answered(t.p).From(t.client)
	if open, err = t.pass(conflict.PrioFirst, conflict.PrioIptables); err != nil || !open {
		return open, err
	}
	t.left = t.left.From(one(t.source()))
	if open, err = t.pass(conflict.PrioIptables, conflict.PrioLast); err != nil || !open {
		return open, err
	}
	switch t.w.Source.Side {
	case Self:
		t.p.Hook = walk.Input
		open, err = t.pass(conflict.PrioFirst, -conflict.PrioIptables)
	case Pod:
		t.p.Out = from
		open, err = t.onward()
	case Outside:
		if open, err = t.routed(Route{Src: t.p.To.Addr(), Dst: t.w.Source.Addr, In: t.p.In.Name, Sport: t.p.To.Port()}); err != nil || !open {
			return open, err
		}
		if err := t.detour(); err != nil {
			return false, err
		}
		open, err = t.onward()
	}
	if err != nil || !open {
		return open, err
	}
	t.p.To = netip.AddrPortFrom(t.w.To, t.q.To.Port())
	return t.behind(one(t.source()))
}

// detour notes that answers leave by another link than the packets came by, where those of
// the node itself would not: its rules for routing go by the source.
func (t *trip) detour() error {
	if t.p.Out.Name == t.in.Name {
		return nil
	}
	own, err := t.route(Route{Src: t.w.To, Dst: t.w.Source.Addr, Sport: t.q.To.Port()})
	if err == nil && own.Fault == None && own.Out.Name == t.in.Name {
		t.w.Detour = t.p.Out.Name
	}
	return err
}

// routed asks for the route of packets, and notes a fault.
func (t *trip) routed(r Route) (open bool, err error) {
	leg, err := t.route(r)
	if leg.Out.Name == r.In && leg.Gateway && !t.p.Answer && t.w.Taker.Kind == finding.Claimed {
		leg.Fault = Returned
	}
	if err == nil && leg.Fault != None {
		t.w.Closed = faulty(t, leg.Fault, r.In)
	}
	t.p.Out, t.beyond = leg.Out, leg.Gateway
	return t.w.Closed == nil, err
}

func (t *trip) route(r Route) (Leg, error) {
	r.Mark, _ = t.left.Mark()
	r.Proto = t.q.Proto
	return t.Router.Route(r)
}
