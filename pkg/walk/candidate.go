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
	// src are the sources with which it does, nil if the key holds no source.
	src addrset.Set
	// open means that it hangs on more than the source.
	open bool
}

// candidates are the elements of a set that a key which is not all known may
// fall on.
func candidates(set nft.Set, elems []nft.Element, th single, slots []slot, p Packet) []candidate {
	var out []candidate
	for _, e := range intervals(set, elems) {
		if e.CatchAll() {
			out = append(out, candidate{elem: e, open: true})
			continue
		}
		if c, ok := th.candidate(e, slots, p); ok {
			out = append(out, c)
		}
	}
	return out
}

// intervals gives every element a KeyEnd. Sets of intervals without
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

// candidate compares the fields of a key with those of an element. Fields begin
// at a register; those of an address have several.
func (s single) candidate(e nft.Element, slots []slot, p Packet) (c candidate, ok bool) {
	c.elem, c.open = e, e.Stateful
	for i := 0; i < len(slots); {
		n := 1
		for i+n < len(slots) && slots[i+n].of == slots[i].of && slots[i+n].of != known && int(slots[i+n].off) == int(slots[i].off)+n*4 {
			n++
		}
		lo, hi := part(e.Key, i, n), part(e.KeyEnd, i, n)
		if len(lo) == 0 || len(lo) != len(hi) {
			return c, true // not what was expected: it may be anything
		}
		f, field := slots[i], slots[i:i+n]
		b, certain := s.key(field, len(lo))
		switch {
		case certain && !inside(b, lo, hi):
			return c, false
		case certain:
		case f.of == ofSrc && f.off == 0 && n*32 == s.b.dst[0].Lo.BitLen() && whole(field):
			from, ok1 := netip.AddrFromSlice(lo)
			to, ok2 := netip.AddrFromSlice(hi)
			c.open = c.open || !ok1 || !ok2
			c.from(addrset.Between(from, to))
		case f.of == ofSrc && bytes.Equal(lo, hi):
			some, ok := s.part(field, lo)
			if ok && len(some.addrs) == 0 {
				return c, false
			}
			if c.open = c.open || !ok; ok {
				c.from(some.addrs)
			}
		case f.of == ofSrcType && bytes.Equal(lo, hi):
			if never(lo) {
				return c, false
			}
			of, known := typeCond(cmpEQ, lo, p)
			if c.open = c.open || !known || of.loose; known {
				c.from(of.addrs)
			}
		default:
			c.open = true
		}
		i += n
	}
	return c, true
}

// from restricts the candidate to some sources.
func (c *candidate) from(src addrset.Set) {
	if c.src != nil {
		src = c.src.And(src)
	}
	if c.src = src; src == nil {
		c.src = addrset.Set{}
	}
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
