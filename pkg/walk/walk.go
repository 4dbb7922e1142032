// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"errors"
	"fmt"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// ErrTooComplex means that the rules branch more than any sane set does.
var ErrTooComplex = errors.New("the rules are too complex to follow")

// ErrTooLong means that Options.Late said so.
var ErrTooLong = errors.New("the rules take too long to follow")

// maxSteps bounds one walk: 20,000 rules are one hundredth of it.
const maxSteps = 2_000_000

// maxPaths bounds what a walk remembers.
const maxPaths = 10_000

// maxDepth is four times the kernel's own limit of nested jumps for nf_tables
// (NFT_JUMP_STACK_SIZE is 16).
const maxDepth = 64

// A Walker walks the chains of one table. It reads each chain once.
type Walker struct {
	src   Source
	table nft.Table
	is4   bool
	Options
	cache map[string][]rule
	// active is how many rules of a chain are asked.
	active map[string]int
	// asked is how many rules were asked in all walks.
	asked int
	// listed are sets by name.
	listed map[string]listing[nft.Element]
	// addrs are those in sets of addresses, nil for one that has more, and inIPSets those in ipsets.
	addrs, inIPSets map[string]addrset.Set
	// runs are those that no chain needs now.
	runs []*run
	// marks tells the chains whose rules set marks.
	marks map[string]bool
	// ctMark is set if a rule of this walk asks for the mark of the connection.
	ctMark bool
}

// Options are what a walk may need besides the rules.
type Options struct {
	// Skip tells chains to which jumps are not followed: our own.
	Skip func(chain string) bool
	// Sets are the node's ipsets, each of which may be asked often; nil leaves matches on
	// them open.
	Sets Sets
	// Late, if set, tells that nobody can wait any longer.
	Late func() bool
	// Whose, if set, tells ways apart that make what they lead to mean something else: "" for
	// most.
	Whose func(way []Hop) string
}

// New returns a Walker for a table and packets of family f. What the walk comes across
// is read from src.
func New(src Source, t nft.Table, f hostport.Family, o Options) *Walker {
	return &Walker{src: src, table: t, is4: f == hostport.IPv4, Options: o, cache: map[string][]rule{}, active: map[string]int{}, listed: map[string]listing[nft.Element]{}, addrs: map[string]addrset.Set{}, inIPSets: map[string]addrset.Set{}, marks: map[string]bool{}}
}

func (w *Walker) skips(chain string) bool { return w.Skip != nil && w.Skip(chain) }

// An outcome is what becomes of some packets.
type outcome struct {
	in    Space
	kind  kind
	chain string // of a jump
	leave bool   // goto: who comes back leaves this chain too
	hop   Hop
	// doubtful is set if all packets are.
	doubtful bool
}

type kind uint8

const (
	keepsOn kind = iota // a target of xtables that lets the rule go on
	translates
	ends
	returns
	jumps
	mayDoAnything
	untracks // and the rule goes on
)

// A trip is one walk.
type trip struct {
	*Walker
	p     Packet
	r     Result
	place bool
	steps int
	// known are the chains that were walked, by the chain and what came in.
	known map[string]*passage
	// skipped is how often what a chain says was not said again.
	skipped int
}

// Walk follows p from its start through the named chain.
func (w *Walker) Walk(chain string, p Packet) (Result, error) { return w.WalkOn(chain, p, p.Start()) }

// WalkOn follows those of p that are left through the named chain, which usually is a base
// chain. Place, the point behind which nothing that ends the walk matters, is the first
// jump to our chains, or the end.
func (w *Walker) WalkOn(chain string, p Packet, left Space) (Result, error) {
	w.ctMark = false
	t := &trip{Walker: w, p: p, known: map[string]*passage{}}
	rest, changed, err := t.chain(chain, left, nil, Yes)
	t.r.Passed, t.r.CtMark = rest.Dst(), w.ctMark
	if !t.place {
		t.r.Reached, t.r.Before, t.r.NATBefore = t.r.Passed, len(t.r.End), len(t.r.NAT)
	}
	t.r.Next, t.r.Changed = append(rest[:len(rest):len(rest)], t.r.Accepted...).bounded(w.is4), changed
	return t.r, err
}

// through is chain without a memory.
func (t *trip) through(name string, s Space, path []Hop, so Tri) (rest Space, changed bool, err error) {
	rules, err := t.acting(name)
	if err != nil {
		return nil, false, err
	}
	x, returned := t.run(t.p), Space(nil)
	defer t.done(x)
	for i := range rules {
		ru := &rules[i]
		if t.steps++; t.steps > maxSteps || t.told() > maxPaths {
			return nil, false, fmt.Errorf("%w: they branch too often in chain %s; remove rules", ErrTooComplex, name)
		}
		if t.asked++; t.asked%patience == 0 {
			if err := t.late(name); err != nil {
				return nil, false, err
			}
		}
		if len(path) == 0 && !t.place && ru.ours() {
			t.place, t.r.Reached, t.r.Before, t.r.NATBefore = true, s.Dst(), len(t.r.End), len(t.r.NAT)
			x.said = nil // what is before it stays
		}
		next, back, altered, err := t.pass(x, ru, s, path, so)
		if err != nil {
			return nil, false, err
		}
		if returned = returned.with(back); len(returned) > maxBoxes { // now, for there may be thousands
			returned = append(returned[:0], returned.bounded(t.is4)...)
		}
		if !altered {
			continue
		}
		if changed {
			x.spare = s
		}
		s, changed = next.bounded(t.is4), true
		if len(s) == 0 {
			break
		}
	}
	return append(s[:len(s):len(s)], returned...).bounded(t.is4), changed, nil
}

// pass sends packets through one rule. Next are those that go on in its chain, back those
// that leave it; without alteration all go on as they are.
func (t *trip) pass(x *run, ru *rule, s Space, path []Hop, so Tri) (next, back Space, altered bool, err error) {
	outs, next, altered, err := x.eval(ru, s)
	if err != nil {
		return nil, nil, false, err
	}
	next = next[:len(next):len(next)]
	for _, o := range outs {
		after, f, err := t.follow(x, o, path, so)
		if err != nil {
			return nil, nil, false, err
		}
		switch f {
		case same:
			next = append(next, o.in...)
		case left:
			if altered = true; back == nil { // as mostly
				back = after[:len(after):len(after)]
			} else {
				back = append(back, after...)
			}
		case stays:
			next, altered = append(next, after...), true
		case nothing:
		}
	}
	return next, back, altered, nil
}

// Matches are the rules of one chain that some of p match, or may, each asked as if it
// were the only one. A rule that does nothing is not among them.
func (w *Walker) Matches(chain string, p Packet) ([]Hop, error) {
	rules, err := w.rules(chain)
	if err != nil {
		return nil, err
	}
	var out []Hop
	x := w.run(p)
	defer w.done(x)
	for i := range rules {
		outs, _, _, err := x.eval(&rules[i], p.Start())
		if err != nil {
			return nil, err
		}
		for _, o := range outs {
			out = append(out, o.hop)
		}
	}
	return out, nil
}

// follow sends the packets of an outcome where they go.
func (t *trip) follow(x *run, o outcome, path []Hop, so Tri) (after Space, f fate, err error) {
	if o.kind == returns {
		return o.in, left, nil
	}
	if t.p.Beside {
		return t.beside(o, path)
	}
	said := x.say(o)
	full := Path{Hops: append(path[:len(path):len(path)], o.hop), Match: weaker(so, o.hop.Match), Dst: o.in.Dst(), Doubtful: o.doubtful}
	switch o.kind {
	case translates:
		t.r.NAT = said.tell(t.r.NAT, full)
		return nil, stays, nil
	case ends:
		t.r.End = said.tell(t.r.End, full)
		t.ends(full, o.in)
		return nil, stays, nil
	case untracks:
		t.r.Untracked = said.tell(t.r.Untracked, full)
		return nil, nothing, nil
	case mayDoAnything:
		full.Match = Unknown
		t.r.NAT = append(t.r.NAT, full)
		return nil, same, nil
	case jumps, keepsOn, returns: // the latter are no outcome, or gone
	}
	return t.jump(o, full)
}

// ends notes packets that a rule lets go to the next base chain, or stops.
func (t *trip) ends(path Path, in Space) {
	if path.Stops() {
		t.r.Stopped = t.r.Stopped.with(in)
	} else {
		t.r.Accepted = t.r.Accepted.with(in)
	}
}

// beside is follow where no way is told.
func (t *trip) beside(o outcome, path []Hop) (after Space, f fate, err error) {
	way := Path{Hops: append(path[:len(path):len(path)], o.hop)}
	switch o.kind {
	case ends:
		t.ends(way, o.in)
		return nil, stays, nil
	case translates:
		return nil, stays, nil
	case untracks:
		return nil, nothing, nil
	case mayDoAnything:
		return nil, same, nil
	case jumps, keepsOn, returns:
	}
	return t.jump(o, way)
}

// jump sends the packets of an outcome through another chain.
func (t *trip) jump(o outcome, way Path) (after Space, f fate, err error) {
	after, changed, err := t.chain(o.chain, o.in, way.Hops, way.Match)
	switch {
	case o.leave:
		return after, left, err
	case !changed:
		return nil, same, err
	}
	return after, stays, err
}
