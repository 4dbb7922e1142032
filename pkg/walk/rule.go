// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// A Source reads rules, one chain and one element at a time. For a chain that is not
// there the error is fs.ErrNotExist.
type Source interface {
	Rules(t nft.Table, chain string) ([]nft.Rule, error)
	Set(t nft.Table, name string) (nft.Set, error)
	Lookup(s nft.Set, key []byte) (nft.Element, bool, error)
	// Elements lists a set, if that is whole without much ado.
	Elements(s nft.Set) (elems []nft.Element, whole bool, err error)
}

// A rule is one rule with its place.
type rule struct {
	*Walker
	rule  *nft.Rule
	chain string
	index int
}

func (w *Walker) rules(chain string) ([]rule, error) {
	if rs, ok := w.cache[chain]; ok {
		return rs, nil
	}
	list, err := w.src.Rules(w.table, chain)
	if err != nil {
		return nil, err
	}
	rs := make([]rule, len(list))
	for i := range list {
		rs[i] = rule{Walker: w, rule: &list[i], chain: chain, index: i}
	}
	w.cache[chain] = rs
	return rs, nil
}

// ours reports whether the rule jumps to our chains.
func (r *rule) ours() bool {
	to := r.rule.Target()
	return to != "" && r.skips(to)
}

// A thread is a set of packets on its way through the expressions, with what
// the registers hold for them. Open is Some or Unknown if it is not certain that
// they are still on it.
type thread struct {
	b       box
	regs    registers
	open    Tri
	altered bool
	comment string
}

// A run collects what comes out of one rule, and then of the next one: there may be many.
type run struct {
	r    *rule
	p    Packet
	outs []outcome
	rest Space
	// altered is set if some packet goes on, or comes back, with another mark.
	altered bool
	hop     Hop
	// said are the outcomes of the chain so far.
	said map[saying]*repeated
	// threads are those on the rule before a step, next those that stay on it.
	threads, next []thread
	// spare is memory for rest, leaving for those that return.
	spare, leaving Space
}

// run is one for rules of one chain. Done gives it back.
func (w *Walker) run(p Packet) *run {
	x := &run{}
	if n := len(w.runs); n > 0 {
		x, w.runs = w.runs[n-1], w.runs[:n-1]
	}
	x.p, x.said = p, nil
	return x
}

func (w *Walker) done(x *run) { w.runs = append(w.runs, x) }

// eval splits packets by what becomes of them: what happens to those that match, and
// those that go on with the next rule. Packets can be in both, or in several outcomes,
// if it is open what they do. Altered means that some mark was changed; without
// outcomes and alteration all go on as they are. The outcomes are good until the next rule.
func (x *run) eval(r *rule, s Space) ([]outcome, Space, bool, error) {
	x.r, x.hop, x.altered = r, Hop{}, false
	if len(x.outs) > 0 && x.outs[0].kind == returns { // who got them has a copy
		x.leaving = x.outs[0].in
	}
	x.threads, x.outs, x.rest = x.threads[:0], x.outs[:0], x.spare[:0]
	for _, b := range s {
		open := Yes
		if b.doubtful {
			open = Unknown
		}
		x.threads = append(x.threads, thread{b: b, open: open})
	}
	for _, e := range r.rule.Exprs {
		x.next = x.next[:0]
		for i := range x.threads {
			if err := x.step(&x.threads[i], e); err != nil {
				return nil, nil, false, err
			}
		}
		if x.threads, x.next = x.next, x.threads; len(x.threads) > maxBoxes {
			x.threads = x.hull(x.threads)
		}
		if len(x.threads) == 0 {
			break
		}
	}
	for i := range x.threads { // no verdict: they go on
		x.misses(&x.threads[i])
	}
	return x.result(s)
}

// result gives the outcomes their certainty: Yes only for a single one that all
// packets take.
func (x *run) result(s Space) ([]outcome, Space, bool, error) {
	if len(x.outs) == 0 && !x.altered {
		x.spare = x.rest
		return nil, s, false, nil
	}
	for i := range x.outs {
		h := &x.outs[i].hop
		if h.Match == Yes && (x.likely(x.rest) || x.severalOuts()) {
			h.Match = Some
		}
	}
	x.spare = nil // rest is not ours any more
	return x.outs, x.rest.bounded(x.r.is4), x.altered, nil
}

func (x *run) likely(s Space) bool {
	for i := range s {
		if !s[i].doubtful {
			return true
		}
	}
	return false
}

// severalOuts reports whether packets that are not doubtful have several outcomes.
func (x *run) severalOuts() bool {
	n := 0
	for i := range x.outs {
		if !x.outs[i].doubtful {
			n++
		}
	}
	return n > 1
}

// hull joins threads that became too many: all registers are forgotten.
func (x *run) hull(threads []thread) []thread {
	var s Space
	open := Some
	for _, th := range threads {
		s, open = append(s, th.b), weaker(open, th.open)
	}
	var out []thread
	for _, b := range s.bounded(x.p.Family() == hostport.IPv4) {
		out = append(out, thread{b: b, regs: forgotten(), open: open, altered: true})
	}
	return out
}

// misses lets a thread go on with the next rule.
//
//go:noinline // it is called from many places
func (x *run) misses(th *thread) {
	x.rest = append(x.rest, th.b)
	x.altered = x.altered || th.altered
}

// stay lets a thread stay on the rule.
//
//go:noinline // it is called from many places
func (x *run) stay(th *thread) { x.next = append(x.next, *th) }

// maybe lets a thread go on with the next rule and also stay: whether it does is
// open.
//
//go:noinline // it is called from many places
func (x *run) maybe(th *thread, open Tri) {
	x.misses(th)
	th.open = weaker(th.open, open)
	x.stay(th)
}

// out ends a thread with an outcome; equal ones are joined. What becomes of doubtful packets
// only is of its own certainty.
func (x *run) out(th *thread, k kind, target, chain string, leave bool) {
	x.altered = x.altered || th.altered
	hop := x.hop
	hop.Table, hop.Chain, hop.Handle, hop.Index, hop.rule = x.r.table, x.r.chain, x.r.rule.Handle, x.r.index, x.r.rule
	hop.Match, hop.Target = th.open, target
	if hop.Comment = th.comment; hop.Comment == "" {
		hop.Comment = x.r.rule.Comment
	}
	for i := range x.outs {
		o := &x.outs[i]
		if o.kind != k || o.chain != chain || o.leave != leave || o.hop.Target != target || o.hop.Comment != hop.Comment {
			continue
		}
		switch {
		case th.b.doubtful:
		case o.doubtful:
			o.hop.Match, o.doubtful = th.open, false
		case (o.hop.Match == Unknown) != (th.open == Unknown):
			continue
		default:
			o.hop.Match = weaker(o.hop.Match, th.open)
		}
		o.in = append(o.in, th.b)
		return
	}
	in := Space{}
	if k == returns && len(x.outs) == 0 { // as in long lists of sources
		in = x.leaving[:0]
	}
	x.outs = append(x.outs, outcome{in: append(in, th.b), kind: k, chain: chain, leave: leave, hop: hop, doubtful: th.b.doubtful})
}

// anything is what an expression may do that is not known: translate, for any port.
func (x *run) anything(th *thread, name string) {
	x.hop.NamesPort = true
	x.out(th, mayDoAnything, name, "", false)
}

// verdict ends a thread with what an immediate or a verdict map says, or lets it stay.
func (x *run) verdict(th *thread, v nft.Verdict) {
	switch v.Code {
	case nft.Continue:
		x.stay(th)
	case nft.Break:
		x.misses(th)
	case nft.Accept:
		x.out(th, ends, "accept", "", false)
	case nft.Drop:
		x.out(th, ends, "drop", "", false)
	case nft.Queue:
		x.out(th, ends, "queue", "", false)
	case nft.Return:
		x.out(th, returns, "return", "", false)
	case nft.Jump, nft.Goto:
		if x.r.skips(v.Chain) {
			x.misses(th)
			break
		}
		verb, leave := "jump ", v.Code == nft.Goto
		if leave {
			verb = "goto "
		}
		x.out(th, jumps, verb+v.Chain, v.Chain, leave)
	default:
		x.anything(th, fmt.Sprintf("verdict %d", v.Code))
	}
}
