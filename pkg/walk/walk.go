// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"errors"
	"fmt"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A Hook is a base chain of table nat where a destination can be translated.
type Hook string

// Packets from outside and from pods pass PREROUTING, those of the node's own
// processes OUTPUT.
const (
	Prerouting Hook = "PREROUTING"
	Output     Hook = "OUTPUT"
)

// A Packet is the set of packets to follow.
type Packet struct {
	Hook  Hook
	Proto hostport.Proto
	// Dst are the destinations, of one family and all local. It must not be
	// empty.
	Dst  addrset.Set
	Port uint16
	// Absent means that Dst is not an address of the node now (a floating
	// hostIP), so the interface it would leave by is unknown.
	Absent bool
}

// Family returns the family of the destinations.
func (p Packet) Family() hostport.Family { return hostport.FamilyOf(p.Dst[0].Lo) }

// start are the packets before the first rule.
func (p Packet) start() space {
	b := box{dst: p.Dst, src: addrset.All(p.Family() == hostport.IPv4)}
	if p.Hook == Prerouting {
		// What arrives through lo was translated in OUTPUT already: its
		// connection is not NEW any more.
		b.in.except = []string{"lo"}
	} else {
		b.in.only = "\x00" // no interface: -i never matches in OUTPUT
	}
	return space{b}
}

// A Hop is one rule that the packets matched, or may have.
type Hop struct {
	Chain string
	Spec  iptsave.Spec
	Text  string
	Match Tri
}

// A Path is the way from the base chain to a verdict. Match is the weakest
// match on it, Dst the destinations that may come this way.
type Path struct {
	Hops  []Hop
	Match Tri
	Dst   addrset.Set
}

// Last returns the hop with the verdict.
func (p Path) Last() Hop { return p.Hops[len(p.Hops)-1] }

// NamesPort reports whether a rule on the path matches the destination port by
// number, or through a set, which may hold ports. Of a rule without a target
// not all is shown; it may name any port.
func (p Path) NamesPort() bool {
	if p.Last().Spec.Target == "" {
		return true
	}
	for _, h := range p.Hops {
		for _, o := range h.Spec.Matches {
			switch o.Name {
			case "--dport", "--dports", "--ports", "--ctorigdstport", "--match-set":
				if !o.Not {
					return true
				}
			}
		}
	}
	return false
}

// A Result is what may happen to the packets in one base chain.
type Result struct {
	// NAT are the rules that translate some of them, or may.
	NAT []Path
	// End are the rules that end the walk for some of them, or may (ACCEPT,
	// DROP), before Place.
	End []Path
	// Reached are the destinations of which some packets may get to Place.
	Reached addrset.Set
}

// ErrTooComplex means that the rules branch more than any sane set does.
var ErrTooComplex = errors.New("rules are too complex to follow")

// maxSteps bounds one walk: 20,000 rules are one hundredth of it.
const maxSteps = 2_000_000

// maxPaths bounds what a walk remembers.
const maxPaths = 10_000

// maxDepth is four times the kernel's own limit of nested jumps for nf_tables
// (NFT_JUMP_STACK_SIZE is 16).
const maxDepth = 64

// A Walker walks one table. It decodes each chain at most once.
type Walker struct {
	table *iptsave.Table
	skip  func(chain string) bool
	cache map[string][]rule
	is4   bool
	// nft is set if the table is nf_tables' own: there a rule may hold what
	// iptables cannot show.
	nft bool
}

// New returns a Walker for t, which may be nil, of family f and of the nft
// flavour or not. Jumps to chains for which skip is true are not followed.
func New(t *iptsave.Table, f hostport.Family, nft bool, skip func(chain string) bool) *Walker {
	return &Walker{table: t, is4: f == hostport.IPv4, nft: nft, skip: skip, cache: map[string][]rule{}}
}

// A trip is one walk.
type trip struct {
	*Walker
	p     Packet
	r     Result
	place int
	steps int
}

// Walk follows p through the named chain, which usually is p.Hook. Place, the
// point behind which nothing that ends the walk matters, is the first jump that
// is skipped, or the end.
func (w *Walker) Walk(chain string, p Packet) (Result, error) {
	t := &trip{Walker: w, p: p, place: -1}
	t.r.Reached = p.Dst
	if w.table.Chain(chain) == nil {
		return t.r, nil
	}
	rest, _, err := t.chain(chain, p.start(), nil, Yes)
	if t.place < 0 {
		t.r.Reached = rest.dst()
	}
	return t.r, err
}

// chain sends the packets of s through a chain and returns those that leave it
// at its end, and whether they differ from s.
func (t *trip) chain(name string, s space, path []Hop, so Tri) (rest space, changed bool, err error) {
	if len(path) > maxDepth {
		return nil, false, fmt.Errorf("%w: chain %s is nested %d deep", ErrTooComplex, name, maxDepth)
	}
	var returned space
	for _, ru := range t.rules(name) {
		if t.steps++; t.steps > maxSteps || len(t.r.NAT)+len(t.r.End) > maxPaths {
			return nil, false, ErrTooComplex
		}
		if len(path) == 0 && t.place < 0 && t.skipped(ru) {
			t.place, t.r.Reached = t.steps, s.dst()
		}
		in, out, m := ru.match(t.p, s)
		if m == No {
			continue
		}
		hops := append(path[:len(path):len(path)], Hop{Chain: name, Spec: ru.spec, Text: ru.text, Match: m})
		after, v, err := t.verdict(ru, in, Path{Hops: hops, Match: weaker(so, m), Dst: in.dst()})
		if err != nil {
			return nil, false, err
		}
		switch v {
		case same:
			continue
		case left:
			returned, after = append(returned, after...), nil
		case stays:
		}
		s, changed = append(out[:len(out):len(out)], after...).bounded(t.is4), true
		if len(s) == 0 {
			break
		}
	}
	return append(s[:len(s):len(s)], returned...).bounded(t.is4), changed, nil
}

func (t *trip) skipped(ru rule) bool { return t.skip != nil && t.skip(ru.spec.Target) }

// fate is what becomes of the packets that match a rule.
type fate uint8

const (
	same  fate = iota // they go on as if the rule were not there
	stays             // those returned go on in this chain
	left              // those returned go on behind the jump to this chain
)

// verdict sends the packets in to the rule's target.
func (t *trip) verdict(ru rule, in space, path Path) (after space, f fate, err error) {
	switch t.kind(ru.spec) {
	case keepsOn:
		if marked, ok := mark(ru.spec, in); ok {
			return marked, stays, nil
		}
		return nil, same, nil
	case translates:
		t.r.NAT = append(t.r.NAT, path)
		return nil, stays, nil
	case ends:
		if t.place < 0 {
			t.r.End = append(t.r.End, path)
		}
		return nil, stays, nil
	case mayDoAnything:
		path.Match = Unknown
		t.r.NAT = append(t.r.NAT, path)
		return nil, same, nil
	case returns:
		return in, left, nil
	case jumps:
	}
	after, changed, err := t.chain(ru.spec.Target, in, path.Hops, path.Match)
	switch {
	case ru.spec.Goto:
		// Who comes back from a chain reached by goto leaves this one too.
		return after, left, err
	case !changed:
		return nil, same, err
	}
	return after, stays, err
}

// mark applies the MARK target.
func mark(spec iptsave.Spec, s space) (space, bool) {
	if spec.Target != "MARK" {
		return nil, false
	}
	value, mask, ok := uint32(0), uint32(0), false
	for _, o := range spec.TargetOptions {
		if o.Name == "--set-xmark" || o.Name == "--set-mark" {
			value, mask, ok = parseMark(o.Value())
		}
	}
	out := make(space, 0, len(s))
	for _, b := range s {
		if b.mark = b.mark.set(value, mask); !ok {
			b.mark = bits{}
		}
		out = append(out, b)
	}
	return out, true
}

func (w *Walker) rules(name string) []rule {
	if rs, ok := w.cache[name]; ok {
		return rs
	}
	c := w.table.Chain(name)
	rs := make([]rule, 0, len(c.Rules))
	for _, ru := range c.Rules {
		rs = append(rs, compile(ru, w.is4))
	}
	w.cache[name] = rs
	return rs
}
