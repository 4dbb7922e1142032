// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"net/netip"

	"github.com/portguard/portguard/pkg/walk"
)

// maxRounds bounds how often marks of connections may change what their next packets meet.
const maxRounds = 4

// follow sends packets that open connections, and then later ones of these: their connection
// has a mark, and nobody translates them any more, but rules may write into them.
func (q query) follow(p walk.Packet) error {
	if !q.asked(p.Hook, false) {
		return nil // as on a node without rules of others: a pod may have thousands of ports
	}
	start := p.Start()
	next, seen, ways, asked := start, walk.Space(nil), []*way(nil), false
	for i := 0; len(next) > 0; i++ {
		if i == maxRounds {
			next = next.WithAnyMark()
		}
		w := &way{query: q, from: p, start: next, round: i}
		if err := w.pass(); err != nil || i == maxRounds {
			return err
		}
		if err := w.behind(); err != nil {
			return err
		}
		if i == 0 {
			if err := q.again(p, start, w.onward.Or(w.left)); err != nil {
				return err
			}
		}
		if !q.asked(p.Hook, true) {
			return nil
		}
		// Marks that only those get who go on, or answer, matter where somebody asks for them.
		after := w.onward.Or(w.left)
		if ways, asked = append(ways, w), asked || w.asked; asked {
			for _, w := range ways {
				more, err := w.beyond()
				if err != nil {
					return err
				}
				after = after.Or(more)
			}
			ways = nil
		}
		p.Later = true
		next = after.Later(start).Without(seen)
		seen = append(seen, next...)
	}
	return nil
}

// again sends packets of other connections of those that rules remember.
func (q query) again(p walk.Packet, start, after walk.Space) error {
	known := start.Remembered(after)
	if len(known) == 0 {
		return nil
	}
	return (&way{query: q, from: p, start: known}).pass()
}

// beyond sends packets that went a way on, and what comes back, for what rules do to the mark of
// their connection. Somebody answers always: the pod, a socket, or the kernel, which refuses.
// It returns packets of connections as they may be by then.
func (w *way) beyond() (walk.Space, error) {
	stays, last, own := w.from, walk.Input, w.from.Hook == walk.Output
	if own {
		last, stays.Out = walk.Postrouting, loopback()
	}
	if err := w.move(); err != nil {
		return nil, err
	}
	stayed, err := w.carried(stays, w.left, last) // for its chains of type nat
	if err != nil {
		return nil, err
	}
	states := w.gone.Or(stayed).Or(w.onward).Or(w.left)
	if w.from.Later { // an answer may follow an answer
		states = states.Or(w.start)
	}
	after := states
	for _, l := range legs(own) {
		p := stays
		if l.pod {
			p = w.goes
		}
		p.Hook, p.Answer, p.Later, p.Links = l.hooks[0], !l.there, true, nil
		for _, p.Error = range l.errors {
			next, err := w.carried(p, states.Tracked().Answered(p), l.hooks...)
			if err != nil {
				return nil, err
			}
			if after = after.Or(next); p.Error { // it is no answer to conntrack: the connection stays new
				after = after.Or(next.Unanswered())
			}
		}
	}
	return after, nil
}

// move follows the packets that the mapping has until they leave the node.
func (w *way) move() (err error) {
	if w.goes.Moved {
		return nil
	}
	w.goes = w.from
	w.goes.Moved, w.goes.To = true, netip.AddrPortFrom(w.a.Target(w.m).Addr(), w.m.ContainerPort)
	there := []walk.Hook{w.from.Hook, walk.Forward, walk.Postrouting}
	if w.from.Hook == walk.Output {
		there = []walk.Hook{w.from.Hook, walk.Postrouting}
	}
	w.gone, err = w.carried(w.goes, w.mapped, there...)
	return err
}

// A leg is a way that answers go, from the pod or from the node, and errors do with them (ICMP:
// conntrack has them in the connection). There is set for those about answers.
type leg struct {
	pod, there bool
	errors     []bool
	hooks      []walk.Hook
}

// legs are those of connections from outside, or of the node's own: the answers to these leave it
// if they have a source that is none of its addresses, as those of transparent proxies.
func legs(own bool) []leg {
	in, through := []walk.Hook{walk.Ingress, walk.Prerouting, walk.Input}, []walk.Hook{walk.Ingress, walk.Prerouting, walk.Forward, walk.Postrouting}
	out, looped := []walk.Hook{walk.Output, walk.Postrouting}, []walk.Hook{walk.Output, walk.Postrouting, walk.Prerouting, walk.Input}
	both, only := []bool{false, true}, []bool{true}
	answers := []leg{{pod: true, errors: both, hooks: through}, {errors: both, hooks: out}}
	if own {
		return append(answers, leg{pod: true, errors: both, hooks: in}, leg{errors: both, hooks: looped})
	}
	return append(answers, leg{pod: true, there: true, errors: only, hooks: through}, leg{there: true, errors: only, hooks: in})
}

// carried are packets behind some hooks, of which nothing counts but the mark of their
// connection. Translated ones come to the first hook where the mapping is.
func (q query) carried(p walk.Packet, left walk.Space, hooks ...walk.Hook) (walk.Space, error) {
	q.beside, p.Beside = true, true
	w := &way{query: q, p: p, left: left}
	err := w.along(hooks...)
	return w.left, err
}

// along sends packets through some hooks.
func (w *way) along(hooks ...walk.Hook) error {
	for i, h := range hooks {
		if i > 0 && hooks[i-1] == walk.Postrouting { // by lo
			w.left, w.looped = w.left.Looped(), true
		}
		w.p.Hook = h
		for _, group := range w.groups(h) {
			if i == 0 && w.p.Moved && !w.p.Answer && !w.p.Error && group.turn().compare(w.s.Place.turn()) < 0 {
				continue
			}
			if err := w.through(group); err != nil {
				return err
			}
		}
	}
	return nil
}

// unjudged is what becomes of packets of which only the marks count. What is dropped on its way
// to the pod is not always: those who open it often come behind the mapping.
func (w *way) unjudged(res walk.Result, drops bool) walk.Result {
	switch {
	case w.p.Hook == walk.Forward:
		res.Next, res.Changed = res.Next.Or(res.Stopped), res.Changed || len(res.Stopped) > 0
	case drops:
		res.Next, res.Changed = res.Accepted, true
	}
	return res
}

// masked are packets that were translated, as a base chain sees them: at the end of the way
// answers have the address and port that was asked.
func (w *way) masked(p walk.Packet, c hooked) walk.Packet {
	if last := p.Hook == walk.Postrouting || p.Hook == walk.Input; last && p.Moved && p.Answer && c.Priority >= -PrioIptables {
		p.To = netip.AddrPort{}
	}
	return p
}
