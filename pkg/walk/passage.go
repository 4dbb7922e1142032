// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
)

// A passage is what comes out of a chain, and whether it differs from what came in. Quiet is
// set if the chain does nothing with the packets but to let them go on; otherwise said is how
// often that was said of packets that got there by ways of one kind.
type passage struct {
	rest    Space
	changed bool
	quiet   bool
	said    map[kindOfWay]int
}

// A kindOfWay is what matters of the way to a chain, besides the packets: whether they got
// there for certain, and by a rule that names the port, and what Whose says.
type kindOfWay struct {
	so        Tri
	namesPort bool
	whose     string
}

func (t *trip) kindOf(path []Hop, so Tri) kindOfWay {
	k := kindOfWay{so: so, namesPort: Path{Hops: path}.NamesPort()}
	if t.Whose != nil {
		k.whose = t.Whose(path)
	}
	return k
}

// maxSaid is by how many ways of one kind what a chain does is found. What it does with the
// same packets is the same by all of them, and there may be more ways than anybody can walk:
// eight to the power of eight by eight chains with eight jumps each.
const maxSaid = 16

// chain sends the packets of s through a chain and returns those that leave it
// at its end, and whether they differ from s.
func (t *trip) chain(name string, s Space, path []Hop, so Tri) (rest Space, changed bool, err error) {
	if len(path) > maxDepth {
		return nil, false, fmt.Errorf("%w: chain %s is nested %d deep; remove jumps", ErrTooComplex, name, maxDepth)
	}
	if len(path) == 0 {
		return t.through(name, s, path, so)
	}
	key := name + "\x00" + s.key()
	p, walked := t.known[key]
	if walked && p.quiet {
		return p.rest, p.changed, nil
	}
	way := t.kindOf(path, so)
	switch {
	case !walked:
		if p = (&passage{said: map[kindOfWay]int{}}); len(t.known) < maxPaths {
			t.known[key] = p
		}
	case p.said[way] >= maxSaid:
		t.skipped++
		return p.rest, p.changed, nil
	}
	told, skipped := t.told(), t.skipped
	p.rest, p.changed, err = t.through(name, s, path, so)
	p.quiet = err == nil && t.told() == told && t.skipped == skipped
	p.said[way]++
	return p.rest, p.changed, err
}

// fate is what becomes of the packets of an outcome.
type fate uint8

const (
	same    fate = iota // they go on as if the rule were not there
	stays               // those returned go on in this chain
	left                // those returned go on behind the jump to this chain
	nothing             // another outcome tells
)

// A saying is what matters of an outcome in one chain, besides destinations.
type saying struct {
	kind                          kind
	target, to, comment           string
	match                         Tri
	namesPort, specific, doubtful bool
}

// repeated are outcomes of one saying, in a row for the same destinations.
type repeated struct {
	dst   addrset.Set
	times int
	// last is the place of the last one among those told.
	last int
}

// say counts what ends the walk, translates or untracks, nil for anything else: there are lists of
// thousands of sources that are dropped one by one.
func (x *run) say(o outcome) *repeated {
	if o.kind != ends && o.kind != translates && o.kind != untracks || len(o.hop.Sets)+len(o.hop.IPSets)+len(o.hop.Unlisted) > 0 {
		return nil
	}
	s := saying{o.kind, o.hop.Target, o.hop.To, o.hop.Comment, o.hop.Match, o.hop.NamesPort, o.hop.Specific, o.doubtful}
	dst := o.in.Dst()
	r := x.said[s]
	if r == nil || !slices.Equal(r.dst, dst) {
		if x.said == nil {
			x.said = map[saying]*repeated{}
		}
		r = &repeated{dst: dst}
		x.said[s] = r
	}
	r.times++
	return r
}

// tell adds a path. If the chain has said the same often enough, it takes the place of the last one.
func (r *repeated) tell(paths []Path, p Path) []Path {
	if r != nil && r.times > maxSaid {
		paths[r.last] = p
		return paths
	}
	if r != nil {
		r.last = len(paths)
	}
	return append(paths, p)
}

// late is the error of who cannot wait any longer, and says what took so long.
func (w *Walker) late(chain string) error {
	if w.Late == nil || !w.Late() {
		return nil
	}
	return fmt.Errorf("%w: they were asked %d times so far (rules: %d, chains: %d), last in chain %s", ErrTooLong, w.asked, w.rulesRead(), len(w.cache), chain)
}

// rulesRead is how many rules were read.
func (w *Walker) rulesRead() (n int) {
	for _, rs := range w.cache {
		n += len(rs)
	}
	return n
}

// patience is after how many rules it is asked whether it is late.
const patience = 64

// told counts what was found so far.
func (t *trip) told() int { return len(t.r.NAT) + len(t.r.End) + len(t.r.Untracked) }
