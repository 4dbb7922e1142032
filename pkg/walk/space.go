// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
)

// A box is a set of packets: every combination of a destination, a source, an
// incoming interface, a mark, and a mark of the connection that it allows. What else a
// packet may have is free.
type box struct {
	dst, src addrset.Set
	in       ifaces
	// mark is the packet's, ctMark that of its connection.
	mark, ctMark bits
	// untracked packets have no connection: they pass all rules of nat by.
	untracked bool
	// template is set if a rule gave them the template of a connection, before conntrack: as long
	// as that has not seen them they count as new.
	template bool
	// answered packets are of a connection that got an answer, and so is no more new.
	answered bool
	// doubtful packets may well not exist: they have another mark than is to be expected, or
	// begin in another way than most connections do.
	doubtful bool
	// memory is what rules noted of them in sets.
	memory memory
}

// A state is what a box says of packets but addresses and links.
type state struct {
	mark, ctMark                            bits
	untracked, template, answered, doubtful bool
	memory                                  memory
}

func (b *box) state() state {
	return state{b.mark, b.ctMark, b.untracked, b.template, b.answered, b.doubtful, b.memory}
}

// A Space is a set of packets, as a union of boxes. It always holds at least the packets
// that can really be there; it may hold more.
type Space []box

// maxBoxes bounds a Space. Beyond it the Space is taken for its hull, which is
// less precise and still sound.
const maxBoxes = 64

// maxMarks bounds the boxes of a hull, so that there is room for what rules do to them.
const maxMarks = maxBoxes / 4

// key is the same for equal Spaces only.
func (s Space) key() string {
	var k []byte
	for _, b := range s {
		for _, set := range []addrset.Set{b.dst, b.src} {
			k = binary.NativeEndian.AppendUint32(k, uint32(len(set)))
			for _, sp := range set {
				k = append(append(k, sp.Lo.AsSlice()...), sp.Hi.AsSlice()...)
			}
		}
		k = fmt.Appendf(k, "%q %q %d %v\n", b.in.only, b.in.except, len(b.in.links), b.state())
	}
	return string(k)
}

// same reports whether two boxes allow the same packets. Sources are what most boxes differ in.
func (b *box) same(o *box) bool {
	return slices.Equal(b.src, o.src) && b.state() == o.state() &&
		b.in.only == o.in.only && slices.Equal(b.in.except, o.in.except) && slices.Equal(b.dst, o.dst)
}

// covers reports whether b allows all packets that o does, and expects them alike.
func (b *box) covers(o *box) bool {
	return b.state() == o.state() &&
		(b.in.all() || b.in.only == o.in.only && slices.Equal(b.in.except, o.in.except)) && b.src.Covers(o.src) && b.dst.Covers(o.dst)
}

// covers reports whether one of the boxes of s does.
func (s Space) covers(b *box) bool {
	for i := range s {
		if s[i].covers(b) {
			return true
		}
	}
	return false
}

// distinct has each box once: packets that a rule may have met go on twice. Of too many all
// become one anyhow.
func (s Space) distinct() Space {
	if len(s) > 4*maxBoxes {
		return s
	}
	var out Space
	for i := range s {
		again := s[:i].has(&s[i])
		switch {
		case again && out == nil:
			out = slices.Clone(s[:i])
		case !again && out != nil:
			out = append(out, s[i])
		}
	}
	if out == nil {
		return s
	}
	return out
}

// with are the packets of both, without boxes of o that one of s covers, as a hull covers what
// comes into it later.
func (s Space) with(o Space) Space {
	if len(s) <= maxBoxes {
		o = o.keep(func(b *box) bool { return !s.covers(b) })
	}
	return append(s, o...)
}

// bounded keeps a Space small. In the hull there is nothing that not all packets have.
func (s Space) bounded(is4 bool) Space {
	if s = s.distinct(); len(s) <= maxBoxes {
		return s
	}
	return s.hull(is4)
}

// hull joins packets that have the same marks, which are known still, and are in the same sets, or
// all if there are too many of those: then their marks are free, and they may be in each set.
func (s Space) hull(is4 bool) Space {
	out, few := s.joined(is4, true)
	if !few {
		out, _ = s.joined(is4, false)
	}
	return out
}

// joined is a box for each state of the connection and, if apart is set, for all marks and memories
// of a few. Packets that may well not exist stay apart anyhow: they say nothing of the marks of
// others.
func (s Space) joined(is4, apart bool) (out Space, few bool) {
	var dst [][]addrset.Set
	var of []state
	for _, b := range s {
		is := b.state()
		if !apart {
			is.mark, is.ctMark, is.memory = bits{}, bits{}, ""
		}
		i := slices.Index(of, is)
		if i < 0 {
			if i = len(of); apart && i == maxMarks {
				return nil, false
			}
			b.src, b.in = addrset.All(is4), ifaces{}
			out, of, dst = append(out, b), append(of, is), append(dst, nil)
		}
		out[i].mark, out[i].ctMark, out[i].memory = out[i].mark.or(b.mark), out[i].ctMark.or(b.ctMark), out[i].memory.or(b.memory)
		if n := len(dst[i]); n == 0 || !slices.Equal(dst[i][n-1], b.dst) { // as most are
			dst[i] = append(dst[i], b.dst)
		}
	}
	for i := range out {
		out[i].dst = addrset.Union(dst[i]...)
	}
	return out, true
}

// Later are later packets of the connections that those of s opened: they come as the first
// ones did, as start has them, and their connection has the mark that it got then. Without
// an answer it is new still, and with one it is not any more.
func (s Space) Later(start Space) Space {
	out := make(Space, 0, 2*len(s))
	for _, b := range s {
		if b.untracked {
			continue
		}
		was := b.answered
		for _, answered := range []bool{true, false} {
			b := box{dst: b.dst, src: start[0].src, in: start[0].in, mark: start[0].mark, ctMark: b.ctMark, answered: answered, doubtful: b.doubtful, memory: b.memory.onward()}
			if answered || !was && b.ctMark != start[0].ctMark {
				out = append(out, b)
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out.bounded(out[0].dst[0].Lo.Is4())
}

// WithAnyMark are packets of connections that have all marks.
func (s Space) WithAnyMark() Space {
	out := slices.Clone(s)
	for i := range out {
		out[i].ctMark = anyNumber()
	}
	return out
}

// keep are those boxes of s that keep wants. As that is mostly all of them, no memory is taken
// before one goes: there may be thousands of ports to decide about.
func (s Space) keep(keep func(*box) bool) Space {
	for i := range s {
		if keep(&s[i]) {
			continue
		}
		out := slices.Clone(s[:i])
		for j := i + 1; j < len(s); j++ {
			if keep(&s[j]) {
				out = append(out, s[j])
			}
		}
		return out
	}
	return s[:len(s):len(s)]
}

// has reports whether one of the boxes of s is b.
func (s Space) has(b *box) bool {
	for i := range s {
		if s[i].same(b) {
			return true
		}
	}
	return false
}

// Without are the packets of s that are not made as those of o.
func (s Space) Without(o Space) Space { return s.keep(func(b *box) bool { return !o.has(b) }) }

// Same reports whether both are made of the same packets in the same way.
func (s Space) Same(o Space) bool {
	return slices.EqualFunc(s, o, func(a, b box) bool { return a.same(&b) })
}

// OfAnswered are the packets of connections that got an answer.
func (s Space) OfAnswered() Space {
	return s.keep(func(b *box) bool { return b.answered })
}

// Tracked are the packets that have a connection.
func (s Space) Tracked() Space {
	return s.keep(func(b *box) bool { return !b.untracked })
}

// Untracked are the others.
func (s Space) Untracked() Space {
	return s.keep(func(b *box) bool { return b.untracked })
}

// Or are the packets of both.
func (s Space) Or(o Space) Space {
	if len(s) <= maxBoxes {
		o = o.Without(s)
	}
	if len(s) == 0 || len(o) == 0 {
		return append(s[:len(s):len(s)], o...)
	}
	return append(s[:len(s):len(s)], o...).bounded(s[0].dst[0].Lo.Is4())
}

// Likely are those that are not doubtful.
func (s Space) Likely() Space {
	return s.keep(func(b *box) bool { return !b.doubtful })
}

// Shut reports whether none of those to be expected come in by some link that rules name,
// or by any that they do not name.
func (s Space) Shut() bool {
	s = s.Tracked().Likely()
	names := []string{""} // that of a link which no rule names
	for _, b := range s {
		names = append(append(names, b.in.only), b.in.except...)
	}
	if len(s) > 0 && s[0].in.links != nil {
		names = names[:0]
		for _, l := range s[0].in.links {
			names = append(names, l.Name)
		}
	}
	return slices.ContainsFunc(names, func(name string) bool {
		return name != "lo" && !slices.ContainsFunc(s, func(b box) bool { return b.in.has(name) })
	})
}

// Dst are all destinations.
func (s Space) Dst() addrset.Set {
	sets := make([]addrset.Set, len(s))
	for i, b := range s {
		sets[i] = b.dst
	}
	return addrset.Union(sets...)
}
