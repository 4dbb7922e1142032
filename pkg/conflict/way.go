// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"math"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
)

// A way is that of packets through the base chains, in the order of the kernel.
type way struct {
	query
	// from is the packet that is sent, start are those of them that are; p is where it is now.
	from, p walk.Packet
	start   walk.Space
	// left are the packets that nobody has taken so far, mapped those that got to the place of
	// the mapping, and onward those that got to the end of its hook.
	left, mapped, onward walk.Space
	// round is 0 for packets that open connections, 1 for later ones of all of these, and more for
	// those with marks that others had not.
	round int
	// asked is set if some rule asks for the mark of their connection.
	asked bool
	// looped packets were translated before, if at all: only what rewrites them counts.
	looped bool
	// past is set behind the place of the mapping.
	past bool
	// taken is set if some rule takes packets, lost are those that keep packets from it,
	// before that place.
	taken bool
	lost  []loss
	// goes are those that the mapping has, once they were followed, and gone is how they leave for
	// the pod.
	goes walk.Packet
	gone walk.Space
}

// hooksOf is a hook for one family.
type hooksOf struct {
	hostport.Family
	walk.Hook
}

// prioConntrack is NF_IP_PRI_CONNTRACK: before it, packets have no connection.
const prioConntrack = -200

// pass sends packets from outside by ingress and prerouting to input, and the node's own
// by output and then, over lo, the same way.
func (w *way) pass() error {
	p := w.from
	w.p, w.left = p, w.start
	for i, h := range stations(p.Hook) {
		if w.p.Hook = h; i > 0 && p.Hook == walk.Output {
			w.left, w.looped, w.p.Out = w.left.Looped(), true, loopback()
		}
		for _, group := range w.groups(h) {
			if h == p.Hook && !w.past && group.turn().compare(w.s.Place.turn()) >= 0 {
				w.arrive(p)
			}
			if err := w.through(group); err != nil {
				return err
			}
		}
		if h == walk.Input && !w.looped || h == walk.Output {
			w.marked()
		}
		if h != p.Hook {
			continue
		}
		if w.onward = w.left; !w.past {
			w.arrive(p)
		}
		w.routed(p)
	}
	return nil
}

func loopback() walk.Link { return walk.Link{Name: "lo", Index: 1} }

// at is the hook of a base chain, "" if no packet that IP sees passes it. The hook of
// tables of family netdev is number 0 there (NF_NETDEV_INGRESS).
func at(c nft.Chain) walk.Hook {
	switch {
	case c.Table.Family == nft.Netdev && c.Hook == nft.NetdevIngress, c.Table.Family == nft.Inet && c.Hook == nft.InetIngress:
		return walk.Ingress
	case c.Table.Family == nft.Netdev:
		return ""
	}
	return map[uint32]walk.Hook{nft.Prerouting: walk.Prerouting, nft.Input: walk.Input, nft.Output: walk.Output,
		nft.Forward: walk.Forward, nft.Postrouting: walk.Postrouting}[c.Hook]
}

// through sends the packets through a group, in each order in which the kernel may ask its chains.
func (w *way) through(g group) error {
	start, known := w.left, []answer(nil)
	for i, order := range g {
		left, changed, err := w.inTurn(order, start, &known)
		if err != nil {
			return err
		}
		if i > 0 {
			left = left.Or(w.left)
		}
		if w.left = left; !changed { // then it changes nothing in any order
			return nil
		}
	}
	return nil
}

// An answer is what a base chain does to packets.
type answer struct {
	chain hooked
	left  walk.Space
	walk.Result
}

// inTurn sends packets through chains, one after the other. Known is what chains are known to do.
func (w *way) inTurn(order []hooked, left walk.Space, known *[]answer) (next walk.Space, changed bool, err error) {
	for _, c := range order {
		i := slices.IndexFunc(*known, func(a answer) bool { return a.chain == c && a.left.Same(left) })
		if i < 0 {
			res, err := w.ask(c, left)
			if err != nil {
				return nil, false, err
			}
			i, *known = len(*known), append(*known, answer{c, left, res})
		}
		res := (*known)[i]
		switch {
		case !res.Changed:
			continue
		case c.unsure:
			left = left.Or(res.Next)
		default:
			left = res.Next
		}
		changed = true
	}
	return left, changed, nil
}

// ask sends packets through one base chain, and judges what it does.
func (w *way) ask(c hooked, left walk.Space) (walk.Result, error) {
	q, p := w.query, w.p
	q.ruleset = c.ruleset
	p.Early = !w.looped && (c.early || unseen(p.Hook, c.Priority))
	p = w.masked(p, c)
	untracked := walk.Space(nil)
	if c.Type == "nat" {
		left, untracked = left.Tracked(), left.Untracked()
	}
	// No rule of iptables writes into packets, and the others are about who goes on.
	if len(left) == 0 || c.Type == "nat" && !w.translated(c) || c.onward && !w.beside && c.flavour(c.Table) != "" {
		return walk.Result{Next: left.Or(untracked)}, nil
	}
	if w.beside {
		if marks, err := q.walker(c.Table).Marks(c.Name); err != nil || !marks {
			return walk.Result{Next: left.Or(untracked)}, err
		}
	}
	res, err := q.walk(c.Table, c.Name, p, left)
	if err != nil {
		return res, err
	}
	w.asked = w.asked || res.CtMark
	res.NAT = slices.DeleteFunc(res.NAT, func(path walk.Path) bool { return !c.takes(path) })
	drops, err := c.drops(c.Chain)
	if err != nil {
		return res, err
	}
	if w.beside {
		res = w.unjudged(res, drops)
	} else {
		if p.Moved {
			w.taken = w.taken || len(res.NAT) > 0 // by whom nobody follows
		} else {
			w.judgeAll(q, c, res)
		}
		if drops {
			res.Next, res.Changed = res.Accepted, true
		}
		w.lose(q, c, left, res, drops)
	}
	if p.Hook == walk.Ingress { // it is for some links only
		res.Next = res.Next.Or(left)
	}
	res.Next = res.Next.Or(untracked)
	return res, nil
}

// unseen reports whether conntrack has not seen the packets yet at a hook.
func unseen(h walk.Hook, priority int32) bool {
	return h == walk.Ingress || (h == walk.Prerouting || h == walk.Output) && priority < prioConntrack
}

// translated reports whether a chain of type nat is asked about the packets: only what opens a
// connection is, once at each hook. What gives it another source comes where only marks count.
func (w *way) translated(c hooked) bool {
	switch {
	case w.p.Later:
		return false
	case w.beside:
		return at(c.Chain) == walk.Postrouting || at(c.Chain) == walk.Input
	}
	return !w.looped && !w.p.Moved && w.p.Hook != walk.Input
}

// takes reports whether a rule of a base chain takes packets by what it does to them: only
// one of type nat can translate.
func (c hooked) takes(path walk.Path) bool {
	target := path.Last().Target
	return target == walk.Rewrites || strings.EqualFold(target, "tproxy") || c.Type == "nat"
}

// judgeAll says what the rules of one base chain mean for the mapping.
func (w *way) judgeAll(q query, c hooked, res walk.Result) {
	here := q.here(c.Chain)
	s := site{at: w.point(c), base: q.baseOf(c.Chain), passes: res.Passed, first: w.past && !here,
		behind: here || q.s.Place.Flavour == "" || c.turn.compare(q.s.Place.turn()) < 0, level: !here && c.turn == q.s.Place.turn()}
	for i, path := range res.NAT {
		w.taken = w.taken || path.Match != walk.Unknown
		s.at.After = i >= res.NATBefore
		q.judge(path, s)
	}
	s.at.After = false
	// An ACCEPT in one table does not keep other tables from translating, so
	// only the table in which ours would stand counts.
	if here && len(res.NAT) == 0 {
		q.reached(w.p, res, s)
	}
}

// point is where the kernel asks a base chain.
func (w *way) point(c hooked) Point {
	switch {
	case w.p.Moved, w.p.Hook == walk.Input && !w.looped:
		return Point{Hook: walk.Prerouting, Stage: Rejection, Priority: c.Priority}
	case w.p.Hook == walk.Ingress:
		return Point{Hook: walk.Prerouting, Stage: Translation, Priority: math.MinInt32}
	case w.looped:
		return Point{Hook: walk.Output, Stage: Rejection, Priority: c.Priority}
	}
	return Point{Hook: w.p.Hook, Stage: Translation, Priority: c.Priority}
}
