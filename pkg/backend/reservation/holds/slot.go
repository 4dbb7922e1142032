// SPDX-License-Identifier: Apache-2.0

package holds

import (
	"net/netip"
	"slices"
	"sort"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Slot is what can be held: a port on one address, or on all of a family, which is the
// unspecified address of that.
type Slot struct {
	Proto hostport.Proto
	Port  uint16
	Addr  netip.Addr
}

// Wildcard reports whether s is a port on all addresses of a family.
func (s Slot) Wildcard() bool { return s.Addr.IsUnspecified() }

// slotOf is that of a mapping.
func slotOf(m hostport.Mapping) Slot {
	slot := Slot{m.Proto, m.HostPort, m.HostIP}
	if m.Wildcard() {
		slot.Addr = m.Family.Wildcard()
	}
	return slot
}

// String is as a mapping's.
func (s Slot) String() string {
	m := hostport.Mapping{Proto: s.Proto, HostPort: s.Port}
	if !s.Wildcard() {
		m.HostIP = s.Addr
	}
	return m.String()
}

// A Hold is who holds a slot, and of one on all addresses which of them.
type Hold struct {
	Key hostport.Key
	// Localhost is set if 127.0.0.1 is among them.
	Localhost bool
	// Spared are left out, besides those that no mapping has (hostport.Attachment.Spared).
	Spared []netip.Prefix
}

func (h Hold) equal(o Hold) bool {
	return h.Key == o.Key && h.Localhost == o.Localhost && slices.Equal(h.Spared, o.Spared)
}

// needs are the slots of an attachment. Binds of SCTP cannot be refused.
func needs(a hostport.Attachment) map[Slot]Hold {
	if a.Reserve == hostport.ReserveOff || a.Reserve == hostport.ReserveRuntime {
		return nil
	}
	out, key := make(map[Slot]Hold, len(a.Mappings)), a.Owner.Key()
	for _, m := range a.Mappings {
		if m.Proto == hostport.SCTP {
			continue
		}
		hold := Hold{Key: key}
		if m.Wildcard() {
			hold.Localhost, hold.Spared = a.Localhost && m.Family == hostport.IPv4, spared(a, m)
		}
		out[slotOf(m)] = hold
	}
	return out
}

// spared are the addresses that a mapping of all leaves out.
func spared(a hostport.Attachment, m hostport.Mapping) (out []netip.Prefix) {
	for _, p := range a.Excludes {
		if hostport.FamilyOf(p.Addr()) == m.Family {
			out = append(out, p.Masked())
		}
	}
	for _, c := range a.Carves {
		if c.Proto == m.Proto && c.Port == m.HostPort && hostport.FamilyOf(c.Addr) == m.Family {
			out = append(out, netip.PrefixFrom(c.Addr, c.Addr.BitLen()))
		}
	}
	return canonical(out)
}

// canonical sorts prefixes, each once.
func canonical(ps []netip.Prefix) []netip.Prefix {
	sort.Slice(ps, func(i, j int) bool { return ps[i].Compare(ps[j]) < 0 })
	return slices.Compact(ps)
}
