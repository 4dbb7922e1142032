// SPDX-License-Identifier: Apache-2.0

package holds

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Change brings the maps and ip_local_reserved_ports from one State to another, step by
// step in the order of the fields. Wherever it ends, no port is held that was not and should
// not be, and what is left behind is found by the next call.
type Change struct {
	// Spare are addresses to be left out by what Put holds.
	Spare []SpareKey
	// Put are entries to be written: those of one address first, because those of all
	// addresses say whether there are any.
	Put []Element
	// List and Unlist are ports for ip_local_reserved_ports. An entry that says that the port
	// is there for us is written before, and removed after.
	List, Unlist []uint16
	// Cut are entries without what goes, Drop those that go: in this order.
	Cut  []Element
	Drop []PortKey
	// Forget are the ports of which no refusal is remembered any more.
	Forget  []PortKey
	Unspare []SpareKey
}

// An Element is an entry with its key.
type Element struct {
	PortKey
	Entry
}

// Empty reports whether there is nothing to do.
func (c Change) Empty() bool {
	return len(c.Spare)+len(c.Put)+len(c.List)+len(c.Unlist)+len(c.Cut)+len(c.Drop)+len(c.Unspare) == 0
}

// Leaving is what of it takes something away.
func (c Change) Leaving() Change {
	c.Spare, c.Put, c.List = nil, nil, nil
	return c
}

// Diff is what brings have to want.
func Diff(have, want State) (c Change) {
	from, to := have.entries(), want.entries()
	for _, k := range changed(to, from) {
		switch was, ok := from[k]; {
		case ok && was.flags&^to[k].flags != 0 && to[k].flags&^was.flags == 0:
			c.Cut = append(c.Cut, Element{k, to[k]})
		default:
			c.Put = append(c.Put, Element{k, to[k]})
		}
	}
	for _, k := range changed(from, to) {
		if _, ok := to[k]; ok {
			continue
		}
		c.Drop = append(c.Drop, k)
		if !k.Addr.IsValid() {
			c.Forget = append(c.Forget, k)
		}
	}
	slices.Reverse(c.Drop) // those of all addresses first
	for port := range want.ours {
		if !have.ours[port] || have.gone[port] && !want.gone[port] {
			c.List = append(c.List, port)
		}
	}
	for port := range have.ours {
		if !want.ours[port] {
			c.Unlist = append(c.Unlist, port)
		}
	}
	hostport.SortPorts(c.List)
	hostport.SortPorts(c.Unlist)
	a, b := have.spares(), want.spares()
	c.Spare, c.Unspare = minus(b, a), minus(a, b)
	return c
}

// Fresh are the slots of want on whose ports have holds nothing, whatever the address: a bind to
// them is not refused.
func Fresh(have, want State) (out []Slot) {
	held := map[Slot]bool{}
	for slot := range have.slots {
		held[Slot{Proto: slot.Proto, Port: slot.Port}] = !have.detached
	}
	for slot := range want.slots {
		if !held[Slot{Proto: slot.Proto, Port: slot.Port}] {
			out = append(out, slot)
		}
	}
	inOrder(out)
	return out
}

// changed are the keys of a of which b has not the same, those of one address before those of all.
func changed(a, b map[PortKey]Entry) (out []PortKey) {
	for k, e := range a {
		if o, ok := b[k]; !ok || o != e {
			out = append(out, k)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.Addr.IsValid() != b.Addr.IsValid() {
			return a.Addr.IsValid()
		}
		return compare(Slot(a), Slot(b)) < 0
	})
	return out
}

// number gives each list of addresses that is left out a number: that which it has, or
// one that no list has.
func (s State) number() map[uint32][]netip.Prefix {
	out := map[uint32][]netip.Prefix{}
	var fresh [][]netip.Prefix
	var sparing []Slot // most leave out none
	for slot, h := range s.slots {
		if len(h.Spared) > 0 {
			sparing = append(sparing, slot)
		}
	}
	inOrder(sparing)
	for _, slot := range sparing {
		list := s.slots[slot].Spared
		if idOf(out, list) != 0 {
			continue
		}
		if id := idOf(s.sets, list); id != 0 {
			out[id] = list
		} else if !slices.ContainsFunc(fresh, func(l []netip.Prefix) bool { return slices.Equal(l, list) }) {
			fresh = append(fresh, list)
		}
	}
	next := uint32(1)
	for _, list := range fresh {
		for s.sets[next] != nil || out[next] != nil {
			next++
		}
		out[next] = list
	}
	return out
}

// inOrder sorts slots.
func inOrder(slots []Slot) {
	sort.Slice(slots, func(i, j int) bool { return compare(slots[i], slots[j]) < 0 }) // SortFunc is 10 KB for each type
}

func compare(a, b Slot) int {
	if a.Port != b.Port {
		return int(a.Port) - int(b.Port)
	}
	if a.Proto != b.Proto {
		return int(a.Proto) - int(b.Proto)
	}
	return a.Addr.Compare(b.Addr)
}

// idOf is the number of a list, 0 if it has none.
func idOf(sets map[uint32][]netip.Prefix, list []netip.Prefix) uint32 {
	for id, l := range sets {
		if slices.Equal(l, list) {
			return id
		}
	}
	return 0
}

// entries are the slots as the maps have them.
func (s State) entries() map[PortKey]Entry {
	if s.loaded != nil {
		return s.loaded
	}
	out := make(map[PortKey]Entry, len(s.slots))
	for slot, h := range s.slots {
		all := PortKey{Proto: slot.Proto, Port: slot.Port}
		k, v4, id := all, slot.Addr.Is4(), idOf(s.sets, h.Spared)
		if !slot.Wildcard() {
			k.Addr = slot.Addr
			one, links := either(v4, one4, one6), s.node.links(slot.Addr)
			if len(links) == 0 {
				one |= either(v4, anywhere4, anywhere6)
			}
			mark(out, all, one)
			for _, link := range links {
				mark(out, all.on(link), either(v4, one4, one6))
			}
		}
		e := out[k]
		e.flags |= either(v4, any4, any6)
		if h.Localhost {
			e.flags |= localhost
		}
		if v4 {
			e.Key4, e.set4 = h.Key, id
		} else {
			e.Key6, e.set6 = h.Key, id
		}
		out[k] = e
	}
	for k := range out {
		if s.ours[k.Port] {
			mark(out, k, ours)
		}
	}
	return out
}

// mark adds flags to an entry.
func mark(all map[PortKey]Entry, k PortKey, flags uint32) {
	e := all[k]
	e.flags |= flags
	all[k] = e
}

func either(first bool, a, b uint32) uint32 {
	if first {
		return a
	}
	return b
}

// spares are the addresses that are left out as the maps have them.
func (s State) spares() map[SpareKey]bool {
	out := map[SpareKey]bool{}
	for _, p := range s.spared {
		out[SpareKey{0, p}] = true
	}
	for id, list := range s.sets {
		for _, p := range list {
			out[SpareKey{id, p}] = true
		}
	}
	return out
}

// minus are the keys of a that b lacks.
func minus(a, b map[SpareKey]bool) (out []SpareKey) {
	for k := range a {
		if !b[k] {
			out = append(out, k)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		return cmp.Or(cmp.Compare(out[i].Set, out[j].Set), out[i].Prefix.Addr().Compare(out[j].Prefix.Addr())) < 0
	})
	return out
}
