// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// A Source reads native nftables, one chain and one element at a time.
type Source interface {
	Rules(t nft.Table, chain string) ([]nft.Rule, error)
	Set(t nft.Table, name string) (nft.Set, error)
	Lookup(s nft.Set, key []byte) (nft.Element, bool, error)
	// Elements lists a set, if that is whole without much ado.
	Elements(s nft.Set) (elems []nft.Element, whole bool, err error)
}

// nftables is a table of nf_tables as a program.
type nftables struct {
	src   Source
	table nft.Table
	skip  func(chain string) bool
	cache map[string][]rule
	is4   bool
	// run is used for one rule after the other: there may be many.
	run run
}

// NewNFT returns a Walker for a table and packets of family f. What the walk
// comes across is read from src. Jumps to chains that skip names are not
// followed.
func NewNFT(src Source, t nft.Table, f hostport.Family, skip func(chain string) bool) *Walker {
	is4 := f == hostport.IPv4
	return &Walker{is4: is4, prog: &nftables{src: src, table: t, is4: is4, skip: skip, cache: map[string][]rule{}}}
}

func (n *nftables) rules(chain string) ([]rule, error) {
	if rs, ok := n.cache[chain]; ok {
		return rs, nil
	}
	list, err := n.src.Rules(n.table, chain)
	if err != nil {
		return nil, err
	}
	rs := make([]nftRule, len(list))
	out := make([]rule, len(list))
	for i, r := range list {
		rs[i] = nftRule{nftables: n, rule: r}
		out[i] = &rs[i]
	}
	n.cache[chain] = out
	return out, nil
}

// An nftRule evaluates the expressions of one rule.
type nftRule struct {
	*nftables
	rule nft.Rule
}

func (r *nftRule) ours() bool { return r.skip != nil && r.skip(r.rule.Target()) }

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

// A run collects what comes out of one rule.
type run struct {
	r    *nftRule
	p    Packet
	outs []outcome
	rest space
	// altered is set if some packet goes on, or comes back, with another mark.
	altered bool
	hop     Hop
	// threads are those on the rule before and after a step; one is what stay returns.
	threads, next []thread
	one           [1]thread
}

func (r *nftRule) eval(p Packet, s space) ([]outcome, space, bool, error) {
	x := &r.run
	*x = run{r: r, p: p, threads: x.threads[:0], next: x.next, rest: x.rest[:0]}
	for _, b := range s {
		x.threads = append(x.threads, thread{b: b, open: Yes})
	}
	for _, e := range r.rule.Exprs {
		x.next = x.next[:0]
		for _, th := range x.threads {
			after, err := x.step(th, e)
			if err != nil {
				return nil, nil, false, err
			}
			x.next = append(x.next, after...)
		}
		if x.threads, x.next = x.next, x.threads; len(x.threads) > maxBoxes {
			x.threads = x.hull(x.threads)
		}
		if len(x.threads) == 0 {
			break
		}
	}
	for _, th := range x.threads { // no verdict: they go on
		x.misses(th)
	}
	return x.result(s)
}

// result gives the outcomes their certainty: Yes only for a single one that all
// packets take.
func (x *run) result(s space) ([]outcome, space, bool, error) {
	if len(x.outs) == 0 && !x.altered {
		return nil, s, false, nil
	}
	for i := range x.outs {
		h := &x.outs[i].hop
		if h.Match == Yes && (len(x.rest) > 0 || len(x.outs) > 1) {
			h.Match = Some
		}
	}
	rest := x.rest
	x.rest = nil // it is not ours any more
	return x.outs, rest.bounded(x.r.is4), x.altered, nil
}

// hull joins threads that became too many: all registers are forgotten.
func (x *run) hull(threads []thread) []thread {
	var s space
	open := Some
	for _, th := range threads {
		s, open = append(s, th.b), weaker(open, th.open)
	}
	b := s.bounded(x.p.Family() == hostport.IPv4)[0]
	return []thread{{b: b, open: open, altered: true}}
}

// misses lets a thread go on with the next rule.
func (x *run) misses(th thread) {
	x.rest = append(x.rest, th.b)
	x.altered = x.altered || th.altered
}

// stay lets a thread stay on the rule. What it returns is good until it is called
// again.
func (x *run) stay(th thread) []thread {
	x.one[0] = th
	return x.one[:]
}

// maybe lets a thread go on with the next rule and also stay: whether it does is
// open.
func (x *run) maybe(th thread, open Tri) []thread {
	x.misses(th)
	th.open = weaker(th.open, open)
	return x.stay(th)
}

// out ends a thread with an outcome; equal ones are joined.
func (x *run) out(th thread, k kind, target, chain string, leave bool) {
	x.altered = x.altered || th.altered
	hop := x.hop
	hop.Table, hop.Text = x.r.table.String(), fmt.Sprintf("handle %d: %s", x.r.rule.Handle, describe(x.r.rule))
	hop.Match, hop.Target = th.open, target
	if hop.Comment = th.comment; hop.Comment == "" {
		hop.Comment = x.r.rule.Comment
	}
	if k == mayDoAnything {
		hop.NamesPort = true
	}
	for i := range x.outs {
		o := &x.outs[i]
		if o.kind == k && o.chain == chain && o.leave == leave && o.hop.Target == target && o.hop.Comment == hop.Comment {
			o.in, o.hop.Match = append(o.in, th.b), weaker(o.hop.Match, th.open)
			return
		}
	}
	x.outs = append(x.outs, outcome{in: space{th.b}, kind: k, chain: chain, leave: leave, hop: hop})
}

// verdict ends a thread with what an immediate or a verdict map says. It returns
// the thread if it goes on.
func (x *run) verdict(th thread, v nft.Verdict) []thread {
	switch v.Code {
	case nft.Continue:
		return x.stay(th)
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
		if x.r.skip != nil && x.r.skip(v.Chain) {
			x.misses(th)
			break
		}
		verb, leave := "jump ", v.Code == nft.Goto
		if leave {
			verb = "goto "
		}
		x.out(th, jumps, verb+v.Chain, v.Chain, leave)
	default:
		x.out(th, mayDoAnything, fmt.Sprintf("verdict %d", v.Code), "", false)
	}
	return nil
}
