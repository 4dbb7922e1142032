// SPDX-License-Identifier: Apache-2.0

package conflict

import "github.com/portguard/portguard/pkg/walk"

// A loss is why packets do not get to the mapping, from it to the pod, or back.
type loss struct {
	walk.Path
	// of are the rules that the Path is among; policy names a policy, if that is it.
	of     *ruleset
	policy string
	at     Point
	// shuts is set if by some link no packet gets on, all if no packet at all does, where the
	// chain may not come first.
	shuts, all bool
}

// lose notes what keeps packets from going on behind a base chain. Past the mapping nothing is
// noted of packets as they were before: it has them.
func (w *way) lose(q query, c hooked, left walk.Space, res walk.Result, drops bool) {
	before, l := len(w.lost), loss{of: c.ruleset, at: w.point(c)}
	for _, l.Path = range append(res.Untracked, res.End...) {
		if !w.past && l.Match != walk.Unknown && (l.Last().Target == "notrack" || l.Stops()) {
			w.lost = append(w.lost, l)
		}
	}
	if drops {
		l.Path, l.policy = walk.Path{Match: walk.Some}, "the policy of "+q.what(c.Table, c.Name)
		w.lost = append(w.lost, l)
	}
	if len(w.lost) > before {
		last := &w.lost[len(w.lost)-1]
		last.shuts, last.all = !left.Shut() && res.Next.Shut(), c.early && len(res.Next.Tracked().Likely()) == 0
	}
}

// arrive gets to the place of the mapping, or as far behind it as packets are followed. Those that
// were dropped, or that conntrack does not know, are not there. Nothing works if the first ones
// are, and no later ones. Some answers may get lost: their clients have any address and port.
func (w *way) arrive(p walk.Packet) {
	w.past, w.mapped = true, w.left
	if len(w.lost) == 0 || w.taken || w.round > 1 {
		return
	}
	left := w.left.Tracked().Likely()
	if p.Later { // others are sent again, or never
		left = left.OfAnswered()
	}
	if len(left) == 0 {
		last := w.lost[len(w.lost)-1]
		w.hidden(p, last, p.Dst, false)
		return
	}
	if p.Later || p.Answer { // of which some may well not exist
		return
	}
	for _, l := range w.lost {
		if l.all || l.shuts || l.NamesPort() {
			w.hidden(p, l, l.Dst, !l.all)
		}
	}
}
