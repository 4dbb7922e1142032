// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"errors"
	"fmt"
	"net/netip"

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
	Dst   netip.Addr
	Port  uint16
	// Absent means that Dst is not an address of the node now (a floating
	// hostIP), so the interface it would leave by is unknown.
	Absent bool
}

// A Hop is one rule that the packets matched, or may have.
type Hop struct {
	Chain string
	// Index is the rule's place in Chain, from 0.
	Index int
	Spec  iptsave.Spec
	Text  string
	Match Tri
}

// A Path is the way from the base chain to a verdict. Match is the weakest
// match on it.
type Path struct {
	Hops  []Hop
	Match Tri
}

// Last returns the hop with the verdict.
func (p Path) Last() Hop { return p.Hops[len(p.Hops)-1] }

// NamesPort reports whether a rule on the path matches the destination port by
// number.
func (p Path) NamesPort() bool {
	for _, h := range p.Hops {
		for _, o := range h.Spec.Matches {
			switch o.Name {
			case "--dport", "--dports", "--ports", "--ctorigdstport":
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
	// DROP): a mapping appended behind never sees those.
	End []Path
}

// ErrTooComplex means that the rules branch more than any sane set does.
var ErrTooComplex = errors.New("rules are too complex to follow")

// maxSteps bounds a walk: 20,000 rules for 50 addresses need a tenth of it.
const maxSteps = 10_000_000

// maxDepth is twice the kernel's own limit of nested jumps for nf_tables
// (NFT_JUMP_STACK_SIZE is 16).
const maxDepth = 64

// A Walker walks one table. It decodes each chain at most once.
type Walker struct {
	table *iptsave.Table
	skip  func(chain string) bool
	cache map[string][]rule
	steps int
}

// New returns a Walker for t, which may be nil. Jumps to chains for which skip
// is true are not followed.
func New(t *iptsave.Table, skip func(chain string) bool) *Walker {
	return &Walker{table: t, skip: skip, cache: map[string][]rule{}}
}

// Walk follows p through the named chain, which usually is p.Hook.
func (w *Walker) Walk(chain string, p Packet) (Result, error) {
	var r Result
	if w.table.Chain(chain) == nil {
		return r, nil
	}
	_, err := w.chain(chain, p, nil, Yes, &r)
	return r, err
}

// chain returns true if no packet of the set leaves the chain at its end.
func (w *Walker) chain(name string, p Packet, path []Hop, so Tri, r *Result) (ended bool, err error) {
	if len(path) > maxDepth {
		return false, fmt.Errorf("%w: chain %s is nested %d deep", ErrTooComplex, name, maxDepth)
	}
	for i, ru := range w.rules(name) {
		if w.steps++; w.steps > maxSteps {
			return false, ErrTooComplex
		}
		m := ru.match(p)
		if m == No {
			continue
		}
		hops := append(path[:len(path):len(path)], Hop{Chain: name, Index: i, Spec: ru.spec, Text: ru.text, Match: m})
		full := Path{Hops: hops, Match: weaker(so, m)}
		stop := false
		switch w.kind(ru.spec.Target) {
		case keepsOn:
			continue
		case translates:
			r.NAT = append(r.NAT, full)
			stop = true
		case ends:
			r.End = append(r.End, full)
			stop = true
		case mayDoAnything:
			full.Match = Unknown
			r.NAT = append(r.NAT, full)
			continue
		case returns:
			if m == Yes {
				return false, nil
			}
			continue
		case jumps:
			stop, err = w.chain(ru.spec.Target, p, hops, full.Match, r)
			if err != nil {
				return false, err
			}
			// Who returns from a chain reached by goto leaves this one too.
			if ru.spec.Goto && m == Yes {
				return stop, nil
			}
		}
		if stop && m == Yes {
			return true, nil
		}
	}
	return false, nil
}

func (w *Walker) rules(name string) []rule {
	if rs, ok := w.cache[name]; ok {
		return rs
	}
	c := w.table.Chain(name)
	rs := make([]rule, 0, len(c.Rules))
	for _, ru := range c.Rules {
		rs = append(rs, compile(ru))
	}
	w.cache[name] = rs
	return rs
}

// Place returns the index of the first jump in chain that is not followed (ours),
// -1 if there is none.
func (w *Walker) Place(chain string) int {
	if w.table.Chain(chain) == nil {
		return -1
	}
	for i, ru := range w.rules(chain) {
		if w.skip != nil && w.skip(ru.spec.Target) {
			return i
		}
	}
	return -1
}
