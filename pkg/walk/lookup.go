// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/nft"
)

// lookUp asks the set of a name.
func (x *run) lookUp(th *thread, name string, sreg, dreg uint32, isMap, inverted bool) error {
	set, err := x.r.src.Set(x.r.table, name)
	if err != nil {
		return err
	}
	x.hop.Sets = append(x.hop.Sets, name)
	slots := th.regs.take(sreg, set.KeyLen)
	x.asks(slots, inverted)
	for _, th := range guessed(th, slots) {
		if err := x.lookIn(&th, set, th.regs.take(sreg, set.KeyLen), dreg, isMap, inverted); err != nil {
			return err
		}
	}
	return nil
}

// lookIn looks up the key in slots.
func (x *run) lookIn(th *thread, set nft.Set, slots []slot, dreg uint32, isMap, inverted bool) error {
	slots = slices.Clone(slots)
	if x.remembered(th, set, slots, dreg, isMap, inverted) {
		return nil
	}
	if set.Flags&nft.SetDynamic != 0 && !set.Verdicts { // rules add to it: what is in it now says nothing
		th.regs.load(dreg, ofAnything, 0, 16)
		x.maybe(th, openness(slots))
		return nil
	}
	ones, err := x.singles(th, set, slots)
	if err != nil {
		return err
	}
	for _, one := range ones {
		key, ok := one.key(slots, set.KeyLen)
		if !ok {
			if err := x.openLookup(&one, set, slots, dreg, isMap, inverted); err != nil {
				return err
			}
			continue
		}
		e, found, err := x.r.src.Lookup(set, key)
		if err != nil {
			return err
		}
		x.found(&one.thread, set, e, found, dreg, isMap, inverted)
	}
	return nil
}

// found goes on with a thread for which a look-up has one answer.
func (x *run) found(th *thread, set nft.Set, e nft.Element, found bool, dreg uint32, isMap, inverted bool) {
	if found && e.Stateful {
		x.misses(th) // its limit or quota may end the rule
		th.open = weaker(th.open, Some)
	}
	if found && e.Expires { // it may be gone by then
		th.open = weaker(th.open, Some)
		gone := *th
		x.found(&gone, set, nft.Element{}, false, dreg, isMap, inverted)
	}
	switch {
	case !isMap:
		x.apply(th, test{always: yesIf(found != inverted)})
	case !found:
		x.misses(th)
	default:
		x.mapsTo(th, set, e, dreg)
	}
}

// mapsTo goes on with what an element of a map holds.
func (x *run) mapsTo(th *thread, set nft.Set, e nft.Element, dreg uint32) {
	if th.comment = e.Comment; set.Verdicts {
		x.verdict(th, e.Verdict)
		return
	}
	th.regs.store(dreg, e.Data)
	x.stay(th)
}

// openLookup is one whose key depends on what the packet set leaves open: then
// every element it may fall on is tried, unless they are too many to list.
func (x *run) openLookup(th *single, set nft.Set, slots []slot, dreg uint32, isMap, inverted bool) error {
	if err := x.r.late(x.r.chain); err != nil { // a set may be large, and asked for each of many addresses
		return err
	}
	open := openness(slots)
	list, err := x.elements(set)
	if err != nil {
		return err
	}
	if !list.whole {
		x.hop.Unlisted = append(x.hop.Unlisted, set.Name)
		if isMap && set.Verdicts {
			x.anything(&th.thread, "vmap @"+set.Name)
		}
		th.regs.load(dreg, ofAnything, 0, 16)
		x.maybe(&th.thread, open)
		return nil
	}
	if addrs, ok := x.addresses(set, list.elems, slots); ok && !isMap {
		x.apply(&th.thread, testOf([]conds{{{kind: sideOf(slots[0].of), addrs: addrs}}}, inverted))
		return nil
	}
	found := candidates(set, list.elems, *th, slots, x.p)
	if isMap {
		x.mapped(&th.thread, set, found, slots, dreg)
	} else {
		x.members(&th.thread, found, slots, inverted)
	}
	return nil
}

// mapped goes on with a thread whose key may fall on several elements of a map.
func (x *run) mapped(th *thread, set nft.Set, found []candidate, slots []slot, dreg uint32) {
	whole := covers(found, slots)
	rest, certain := []box{th.b}, true
	for _, c := range found {
		if c.elem.CatchAll() {
			c.in, c.open, whole = rest, !certain, whole || !stateful(found)
		}
		open := th.open
		if c.open {
			open = weaker(open, openness(slots)) // an element's own limit is covered by misses
		} else if len(rest) <= maxSingles {
			rest = without(rest, c.when)
		} else { // rest has packets of this element
			certain = false
		}
		certain = certain && !c.open
		for _, b := range c.in {
			t := *th
			t.b, t.open = b, open
			x.mapsTo(&t, set, c.elem, dreg)
		}
	}
	if whole {
		return
	}
	for _, th.b = range rest {
		x.misses(th)
	}
}

// without are the packets of boxes for which none of several conditions holds.
func without(boxes []box, anyOf []conds) (out []box) {
	for _, b := range boxes {
		_, rest := splitAny(anyOf, b)
		out = append(out, rest...)
	}
	return out
}

// stateful reports whether some element has a limit or a quota, which may end the rule, or goes
// by itself.
func stateful(found []candidate) bool {
	return slices.ContainsFunc(found, func(c candidate) bool { return c.elem.Stateful || c.elem.Expires })
}

// members goes on with a thread that is, or is not, in a set of candidates.
func (x *run) members(th *thread, found []candidate, slots []slot, inverted bool) {
	var anyOf []conds
	exact := true
	for _, c := range found {
		anyOf, exact = append(anyOf, c.when...), exact && !c.open
	}
	switch anyOf = merged(anyOf); {
	case covers(found, slots):
		x.apply(th, test{always: yesIf(!inverted)})
	case !exact || len(anyOf) > maxSingles:
		x.maybe(th, openness(slots))
	default:
		x.apply(th, testOf(anyOf, inverted))
	}
}

// merged makes one of conditions on the source alone, or on the destination.
func merged(anyOf []conds) (out []conds) {
	sets := map[condKind][]addrset.Set{}
	for _, all := range anyOf {
		if c := all[:min(len(all), 1)]; len(all) == 1 && (c[0].kind == onSrc || c[0].kind == onDst) && !c[0].not {
			sets[c[0].kind] = append(sets[c[0].kind], c[0].addrs)
			continue
		}
		out = append(out, all)
	}
	for _, kind := range []condKind{onDst, onSrc} {
		if addrs := addrset.Union(sets[kind]...); len(addrs) > 0 {
			out = append(out, conds{{kind: kind, addrs: addrs}})
		}
	}
	return out
}

// A single is a thread with one destination, if its key needs one.
type single struct {
	thread
	dst []byte
}

// maxSingles bounds how many destinations are looked up one by one, and maxAsked how many in a set that
// is too long to be listed.
const (
	maxSingles = 64
	maxAsked   = 1024
)

// singles splits a thread by destination where the key holds one, unless they are too many.
func (x *run) singles(th *thread, set nft.Set, slots []slot) ([]single, error) {
	if !slices.ContainsFunc(slots, func(s slot) bool { return s.of == ofDst }) {
		return []single{{thread: *th}}, nil
	}
	limit := maxSingles
	if !few(th.b.dst, limit) {
		list, err := x.elements(set)
		if err != nil {
			return nil, err
		}
		if limit = maxAsked; list.whole || !few(th.b.dst, limit) {
			return []single{{thread: *th}}, nil
		}
	}
	var out []single
	for a := range each(th.b.dst) {
		one := *th
		one.b.dst = addrset.Between(a, a)
		out = append(out, single{one, a.AsSlice()})
	}
	return out, nil
}

// each goes through addresses.
func each(s addrset.Set) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, sp := range s {
			for a, more := sp.Lo, true; more; a = a.Next() {
				if !yield(a) {
					return
				}
				more = a != sp.Hi
			}
		}
	}
}

// few reports whether a set has at most n addresses.
func few(s addrset.Set, n int) bool {
	for range each(s) {
		if n--; n < 0 {
			return false
		}
	}
	return true
}

// key is the bytes to look up, if they are all known.
func (s single) key(slots []slot, n int) ([]byte, bool) {
	var out []byte
	for _, sl := range slots {
		switch {
		case sl.of == known:
			out = append(out, sl.data[:]...)
		case sl.of == ofDst && s.dst != nil:
			for j := range 4 {
				b := byte(0)
				if at := int(sl.off) + j; at < len(s.dst) {
					b = s.dst[at]
				}
				out = append(out, b&sl.mask[j]^sl.data[j])
			}
		default:
			return nil, false
		}
	}
	if len(out) < n {
		return nil, false
	}
	return out[:n], true
}
