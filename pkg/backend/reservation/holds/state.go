// SPDX-License-Identifier: Apache-2.0

// Package holds decides which ports are held against the binds of others, and how that is
// written into the maps of the BPF programs that refuse them. It is pure.
package holds

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
)

// A Node is what the node is like, as far as it matters.
type Node struct {
	// Spared are addresses that no mapping captures: those of infrastructure, and broadcast
	// addresses.
	Spared []netip.Prefix
	// From and To are ip_local_port_range, Listed is ip_local_reserved_ports.
	From, To uint16
	Listed   [][2]uint16
	// Links are those by which sockets that are bound to one receive packets for an address,
	// none if nobody can tell.
	Links func(netip.Addr) []int
}

func (n Node) links(addr netip.Addr) []int {
	if n.Links == nil {
		return nil
	}
	return n.Links(addr)
}

// A State is what is held, or should be.
type State struct {
	slots map[Slot]Hold
	// loaded are the entries as they are in the maps, nil for what should be.
	loaded map[PortKey]Entry
	// spared are left out of every port; sets are the lists of addresses by their numbers.
	spared []netip.Prefix
	sets   map[uint32][]netip.Prefix
	// ours are ports that portguard put into ip_local_reserved_ports, gone those of them that
	// somebody has taken away there.
	ours, gone map[uint16]bool
	// mine are those that were ours when the State was loaded: node has them too.
	mine map[uint16]bool
	node Node
	// refused are refusals, also of ports that nobody holds any more.
	refused []hostport.Refusal
	// known, if set, reports whether somebody else knows an attachment. What is held for others
	// was held by an ADD that was killed.
	known func(hostport.Key) bool
	// lacks says why nothing can be held, "" if it can. It is nil where that is certain.
	lacks func() string
	// required is set if an attachment must not be without.
	required bool
	// detached is set if the programs are not in place that read the maps.
	detached bool
}

var _ backend.State = State{}

// Claims implements backend.State: what is held leads nowhere.
func (s State) Claims() []hostport.Claim { return nil }

// With implements backend.State. What another attachment has stays its own.
func (s State) With(a hostport.Attachment, instead ...hostport.Key) backend.State {
	return s.WithAll([]hostport.Attachment{a}, instead...)
}

// WithAll implements backend.State.
func (s State) WithAll(as []hostport.Attachment, instead ...hostport.Key) backend.State {
	room := 0
	for _, a := range as {
		room += len(a.Mappings)
	}
	d := s.without(slices.Concat(instead, hostport.Keys(as)), room)
	for _, a := range as {
		for slot, hold := range needs(a) {
			if _, taken := d.slots[slot]; !taken {
				d.slots[slot] = hold
			}
			delete(d.gone, slot.Port)
		}
		d.required = d.required || a.Reserve == hostport.ReserveRequire
	}
	d.detached = d.detached && len(d.slots) == 0
	return d.finish()
}

// Without implements backend.State.
func (s State) Without(keys ...hostport.Key) backend.State { return s.without(keys, 0).finish() }

// without is s without what attachments hold, and with room for more.
func (s State) without(keys []hostport.Key, room int) State {
	d := s
	d.slots, d.ours, d.gone = make(map[Slot]Hold, len(s.slots)+room), maps.Clone(s.ours), maps.Clone(s.gone)
	unknown := map[hostport.Key]bool{}
	for slot, h := range s.slots {
		is, asked := unknown[h.Key]
		if !asked && s.known != nil {
			is = !s.known(h.Key)
			unknown[h.Key] = is
		}
		if !is && !slices.Contains(keys, h.Key) {
			d.slots[slot] = h
		}
	}
	d.known, d.loaded = nil, nil
	return d
}

// finish is what goes with the slots: the addresses that are left out by now, and the ports
// that the kernel must not choose by itself. One that others have listed is theirs.
func (s State) finish() State {
	s.spared = nil
	if len(s.slots) > 0 {
		s.spared = s.node.Spared
	}
	held := map[uint16]bool{}
	for slot := range s.slots {
		held[slot.Port] = true
	}
	maps.DeleteFunc(s.ours, func(port uint16, _ bool) bool { return !held[port] })
	for port := range held {
		if s.node.From <= port && port <= s.node.To && !s.listed(port) {
			s.ours[port] = true
		}
	}
	s.sets = s.number()
	return s
}

// listed reports whether somebody else has put a port into ip_local_reserved_ports.
func (s State) listed(port uint16) bool {
	return !s.mine[port] && slices.ContainsFunc(s.node.Listed, func(r [2]uint16) bool { return r[0] <= port && port <= r[1] })
}

// Missing implements backend.State. Where nothing can be held nothing is missing, unless a
// must not be without.
func (s State) Missing(a hostport.Attachment) (out []string) {
	if s.lacks != nil {
		if why := s.lacks(); why != "" && a.Reserve != hostport.ReserveRequire {
			return nil
		} else if why != "" {
			return []string{"hostPorts cannot be held against binds of others: " + why}
		}
	}
	for slot, want := range needs(a) {
		switch has, ok := s.slots[slot]; {
		case !ok || s.detached:
			out = append(out, fmt.Sprintf("hostPort %s is not held, so a process of the node can bind it", slot))
		case has.Key == want.Key && !has.equal(want): // what another attachment holds is held too
			out = append(out, fmt.Sprintf("hostPort %s is held on other addresses than it is mapped", slot))
		case s.gone[slot.Port]:
			out = append(out, fmt.Sprintf("hostPort %s is no more in ip_local_reserved_ports", slot))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Whole implements backend.State. It does not compare lists of what is left out, if both have
// some.
func (s State) Whole(a hostport.Attachment) bool {
	if a.Reserve == hostport.ReserveOff || a.Reserve == hostport.ReserveRuntime {
		return true
	}
	if s.lacks != nil {
		return len(s.Missing(a)) == 0
	}
	key, spares := a.Owner.Key(), len(a.Excludes)+len(a.Carves) > 0
	for _, m := range a.Mappings {
		if m.Proto == hostport.SCTP {
			continue
		}
		h, held := s.slots[slotOf(m)]
		switch {
		case !held, s.gone[m.HostPort]:
			return false
		case h.Key != key || !m.Wildcard():
		case h.Localhost != (a.Localhost && m.Family == hostport.IPv4), !spares && len(h.Spared) > 0:
			return false
		}
	}
	return true
}

// Recover implements backend.State: what is held does not tell where it is mapped to.
func (s State) Recover(hostport.Key) (a hostport.Attachment, ok bool) { return a, false }

// Off says why nothing is held, "" if ports are.
func (s State) Off() string {
	if s.lacks == nil {
		return ""
	}
	return s.lacks()
}

// Required reports whether an attachment must not be without.
func (s State) Required() bool { return s.required }

// Attached reports whether programs have to be in place: something is to be held.
func (s State) Attached() bool { return len(s.slots) > 0 && !s.detached }

// Holds reports whether the port of a mapping is held for an attachment.
func (s State) Holds(m hostport.Mapping, key hostport.Key) bool {
	if s.detached {
		return false
	}
	return s.slots[slotOf(m)].Key == key
}

// Listed are the ports that are in ip_local_reserved_ports for portguard alone: nobody else
// has asked for them. They are in no order.
func (s State) Listed() []uint16 { return slices.Collect(maps.Keys(s.ours)) }
