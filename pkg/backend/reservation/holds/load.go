// SPDX-License-Identifier: Apache-2.0

package holds

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Loader makes a State of what the maps hold for one network namespace.
type Loader struct {
	Netns uint64
	Node  Node
	// Known reports whether somebody else than these maps knows an attachment.
	Known func(hostport.Key) bool
	// Boot is when the clock of the refusals began.
	Boot time.Time
	// Lacks, if set, says why the programs cannot be put in place, which are not; "" if they
	// can.
	Lacks func() string

	entries map[PortKey]Entry
	sets    map[uint32][]netip.Prefix
	refused []hostport.Refusal
}

// Port takes an element of the map of ports.
func (l *Loader) Port(key, value []byte) {
	netns, k := parsePortKey(key)
	if netns != l.Netns {
		return
	}
	if l.entries == nil {
		l.entries = map[PortKey]Entry{}
	}
	l.entries[k] = parseEntry(value)
}

// Spare takes a key of the map of addresses that are left out.
func (l *Loader) Spare(key []byte) error {
	netns, k, err := parseSpareKey(key)
	if err != nil || netns != l.Netns {
		return err
	}
	if l.sets == nil {
		l.sets = map[uint32][]netip.Prefix{}
	}
	l.sets[k.Set] = append(l.sets[k.Set], k.Prefix)
	return nil
}

// Refusal takes an element of the map of refusals.
func (l *Loader) Refusal(key, value []byte) {
	netns, k := parsePortKey(key)
	if netns != l.Netns {
		return
	}
	since := time.Duration(binary.NativeEndian.Uint64(value[8:]))
	l.refused = append(l.refused, hostport.Refusal{
		Proto: k.Proto, Port: k.Port, Count: binary.NativeEndian.Uint64(value), PID: int(binary.NativeEndian.Uint32(value[16:])),
		Group:   binary.NativeEndian.Uint32(value[20:]),
		Command: text(value[24:40]), Addr: netip.AddrFrom16([16]byte(value[40:56])).Unmap(), Last: l.Boot.Add(since),
	})
}

// State is what was loaded.
func (l *Loader) State() State {
	s := State{slots: map[Slot]Hold{}, ours: map[uint16]bool{}, gone: map[uint16]bool{}, node: l.Node, known: l.Known,
		lacks: l.Lacks, detached: l.Lacks != nil}
	s.loaded, s.node.Spared, s.sets = l.entries, canonical(slices.Clone(l.Node.Spared)), maps.Clone(l.sets)
	for id := range s.sets {
		s.sets[id] = canonical(s.sets[id])
	}
	s.spared = s.sets[0]
	delete(s.sets, 0)
	for k, e := range l.entries {
		s.take(k, e)
	}
	s.mine = maps.Clone(s.ours)
	s.refused = l.refused
	return s
}

// take takes one entry: one slot or, on all addresses, up to two.
func (s State) take(k PortKey, e Entry) {
	slot := Slot(k)
	for _, f := range []struct {
		any  uint32
		fam  hostport.Family
		hold Hold
	}{
		{any4, hostport.IPv4, Hold{e.Key4, e.flags&localhost != 0, s.sets[e.set4]}},
		{any6, hostport.IPv6, Hold{e.Key6, false, s.sets[e.set6]}},
	} {
		if e.flags&f.any == 0 {
			continue
		}
		if !k.Addr.IsValid() {
			slot.Addr = f.fam.Wildcard()
		}
		s.slots[slot] = f.hold
	}
	if e.flags&ours != 0 {
		s.ours[k.Port] = true
		if !s.listed(k.Port) {
			s.gone[k.Port] = true
		}
	}
}

// Refusals are what is remembered of refused binds to ports that are held, the last one first.
func (s State) Refusals() (out []hostport.Refusal) {
	type port struct {
		proto hostport.Proto
		port  uint16
	}
	keys := map[port][]hostport.Key{} // on whatever address
	for slot, h := range s.slots {
		at := port{slot.Proto, slot.Port}
		keys[at] = append(keys[at], h.Key)
	}
	for _, r := range s.refused {
		if r.Keys = keys[port{r.Proto, r.Port}]; len(r.Keys) > 0 {
			slices.Sort(r.Keys)
			r.Keys = slices.Compact(r.Keys)
			out = append(out, r)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Last.After(out[j].Last) })
	return out
}

// Held are the ports that attachments hold, in no order.
func (s State) Held() map[hostport.Key][]hostport.Mapping {
	out := map[hostport.Key][]hostport.Mapping{}
	for slot, h := range s.slots {
		m := hostport.Mapping{Family: hostport.FamilyOf(slot.Addr), Proto: slot.Proto, HostPort: slot.Port}
		if !slot.Wildcard() {
			m.HostIP = slot.Addr
		}
		out[h.Key] = append(out[h.Key], m)
	}
	return out
}

// None is the State of a node on which nothing is held.
func None(n Node, lacks func() string) State { return (&Loader{Node: n, Lacks: lacks}).State() }
