// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"sort"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/nft"
)

// A candidate is an element that a key may fall on.
type candidate struct {
	elem nft.Element
	// when are conditions of which one holds then.
	when []conds
	// open means that it depends on more.
	open bool
	// in are the packets for which one of them holds.
	in []box
}

// candidates are the elements of a set that a key which is not all known may
// fall on, in the form that intervals has. The last one is that for all other keys.
func candidates(set nft.Set, elems []nft.Element, th single, slots []slot, p Packet) (out []candidate) {
	var rest []candidate
	fields := th.fields(set, slots)
	for _, e := range elems {
		if e.CatchAll() {
			rest = append(rest, candidate{elem: e, open: true, when: []conds{{}}, in: []box{th.b}})
			continue
		}
		c, ok := th.candidate(e, fields, p)
		if !ok {
			continue
		}
		if c.in, _ = splitAny(c.when, th.b); len(c.in) > 0 {
			out = append(out, c)
		}
	}
	return append(out, rest...)
}

// intervals sorts elements and gives every element a KeyEnd. Sets of intervals without
// concatenation mark the end by an element of its own.
func intervals(set nft.Set, elems []nft.Element) []nft.Element {
	elems = slices.Clone(elems)
	sort.Slice(elems, func(i, j int) bool {
		a, b := elems[i], elems[j]
		return cmp.Or(bytes.Compare(a.Key, b.Key), endFirst(a, b)) < 0
	})
	var out []nft.Element
	for i, e := range elems {
		switch {
		case e.IntervalEnd():
			continue
		case e.CatchAll() || len(e.KeyEnd) > 0:
		case set.Flags&nft.SetInterval == 0:
			e.KeyEnd = e.Key
		case i+1 < len(elems):
			e.KeyEnd = before(elems[i+1].Key)
		default:
			e.KeyEnd = bytes.Repeat([]byte{255}, len(e.Key))
		}
		out = append(out, e)
	}
	return out
}

// endFirst orders the end of an interval before the start of one that touches it.
func endFirst(a, b nft.Element) int {
	switch {
	case a.IntervalEnd() == b.IntervalEnd():
		return 0
	case a.IntervalEnd():
		return -1
	}
	return 1
}

// before returns the number one lower.
func before(key []byte) []byte {
	out := bytes.Clone(key)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]--
		if out[i] != 255 {
			break
		}
	}
	return out
}

// A keyField is a part of a key: registers, and what they hold if that is known.
type keyField struct {
	slots []slot
	at    int
	known []byte
}

// fields cuts a key into its parts: as the set has them, which the kernel compares one by one, or
// without that where something else begins.
func (s single) fields(set nft.Set, slots []slot) (out []keyField) {
	sizes, total := set.Fields[:], 0
	for k, size := range sizes {
		if sizes[k] = (size + 3) / 4; size == 0 {
			sizes = sizes[:k]
			break
		}
		total += int(sizes[k])
	}
	for i := 0; i < len(slots); {
		n := 1
		if total == len(slots) {
			n = int(sizes[len(out)])
		} else {
			for i+n < len(slots) && slots[i+n].of == slots[i].of && slots[i+n].of != known && int(slots[i+n].off) == int(slots[i].off)+n*4 {
				n++
			}
		}
		f := keyField{slots: slots[i : i+n], at: i}
		f.known, _ = s.key(f.slots, n*4)
		out = append(out, f)
		i += n
	}
	return out
}

// candidate compares the fields of a key with those of an element. Fields begin
// at a register; those of an address have several.
func (s single) candidate(e nft.Element, fields []keyField, p Packet) (c candidate, ok bool) {
	c.elem, c.open, c.when = e, e.Stateful || e.Expires, []conds{{}}
	for _, f := range fields { // which rules out most
		lo, hi := f.of(e)
		if len(lo) == 0 || len(lo) != len(hi) {
			c.open = true // not what was expected: it may be anything
			return c, true
		}
		if f.known != nil && !inside(f.known[:len(lo)], lo, hi) {
			return c, false
		}
	}
	for _, f := range fields {
		if f.known != nil {
			continue
		}
		lo, hi := f.of(e)
		either, exact := s.field(f.slots, lo, hi, p)
		if c.open = c.open || !exact; len(either) == 0 {
			return c, false
		}
		c.and(either)
	}
	return c, true
}

// of is what an element has there.
func (f keyField) of(e nft.Element) (lo, hi []byte) {
	return part(e.Key, f.at, len(f.slots)), part(e.KeyEnd, f.at, len(f.slots))
}

// field are the conditions of which one holds if a field of a key is between two values. It
// is not exact if none needs to hold the other way round.
func (s single) field(slots []slot, lo, hi []byte, p Packet) (either []conds, exact bool) {
	same := bytes.Equal(lo, hi)
	switch of := slots[0].of; {
	case (of == ofSrc || of == ofDst) && slots[0].off == 0 && len(slots)*32 == s.b.dst[0].Lo.BitLen() && whole(slots):
		from, ok1 := netip.AddrFromSlice(lo)
		to, ok2 := netip.AddrFromSlice(hi)
		if ok1 && ok2 {
			return []conds{{{kind: sideOf(of), addrs: addrset.Between(from, to)}}}, true
		}
	case (of == ofSrc || of == ofDst) && same:
		some, ok := s.part(slots, lo)
		switch {
		case ok && len(some.addrs) == 0:
			return nil, true
		case ok:
			return []conds{{some}}, true
		}
	case of == ofSrcType && same && never(lo):
		return nil, true
	case of == ofSrcType && same:
		if some, ok := typeCond(cmpEQ, lo, p); ok {
			return []conds{{some}}, !some.loose
		}
	case ofLink(of) && slots[0].off == 0 && plain(slots, len(lo)):
		if names, ok := p.links(of, lo, hi); ok {
			return byName(names), true
		}
	}
	t := spans(slots, len(lo), lo, hi)
	if t == No {
		return nil, true
	}
	return []conds{{}}, t == Yes
}

// sideOf is the condition on an address.
func sideOf(of source) condKind {
	if of == ofSrc {
		return onSrc
	}
	return onDst
}

// and adds conditions of which one must hold too.
func (c *candidate) and(either []conds) {
	var when []conds
	for _, a := range c.when {
		for _, b := range either {
			when = append(when, append(a[:len(a):len(a)], b...))
		}
	}
	c.when = when
}

// part returns the bytes of n registers from the i-th on.
func part(key []byte, i, n int) []byte {
	if i*4 >= len(key) {
		return nil
	}
	return key[i*4 : min(len(key), (i+n)*4)]
}

func inside(b, lo, hi []byte) bool { return bytes.Compare(lo, b) <= 0 && bytes.Compare(b, hi) <= 0 }

// whole reports whether a value was loaded without a mask or a flip.
func whole(slots []slot) bool {
	return !slices.ContainsFunc(slots, func(s slot) bool {
		return s.mask != [4]byte{255, 255, 255, 255} || s.data != [4]byte{}
	})
}
