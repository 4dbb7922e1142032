// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// The sets own4 and own6 hold the destinations at which mappings may be. They are the
// node's: no element of an attachment depends on the addresses that the node has. Each is
// an interval of addresses with all ports, since the kernel takes intervals beside other
// elements only in a set of several parts (nft_set_pipapo.c).

// ownComment marks the elements of the sets own.
const ownComment = "portguard: own"

// isOwn reports whether e is of the sets own.
func isOwn(e nfttable.Element) bool { return e.Set == "own4" || e.Set == "own6" }

// own are the elements for what mappings may be at.
func (f familyInfo) own(within addrset.Set) []nfttable.Element {
	var out []nfttable.Element
	first, last := nfttable.PortKey(0), nfttable.PortKey(0xffff)
	for _, span := range within {
		out = append(out, nfttable.Element{Set: f.name("own"), From: nfttable.Join(nfttable.AddrKey(span.Lo), first), To: nfttable.Join(nfttable.AddrKey(span.Hi), last), Comment: ownComment})
	}
	return out
}

// settled is a table with what mappings share: the node's own addresses as they are now,
// and for masquerading what is needed still. Without mappings nothing is.
func (s *State) settled(t *nfttable.Table) *nfttable.Table {
	t = needed(t)
	if t.Stranger != nil || !t.There {
		return t
	}
	used := false
	for e := range t.All() {
		if used = !isOwn(e); used {
			break
		}
	}
	var want []nfttable.Element
	if used {
		want = s.own(t.Broken)
	}
	return t.Replace(isOwn, want)
}

// own are the elements of those of the sets own that are not broken: those would have to be
// made.
func (s *State) own(broken []string) (out []nfttable.Element) {
	for _, f := range hostport.Families() {
		if !slices.Contains(broken, "set "+info(f).name("own")) {
			out = append(out, info(f).own(s.Within[f])...)
		}
	}
	return out
}

// Reach is where the kernel lets mappings be: everywhere in a table that does not know the
// node's own addresses.
func (s *State) Reach(f hostport.Family) (within addrset.Set, sparesServices bool) {
	if set := info(f).name("own"); !s.Table.There || s.Stranger() != "" || slices.Contains(s.Table.Broken, "set "+set) {
		return addrset.All(f == hostport.IPv4), false
	}
	if known, ok := s.reach[f]; ok {
		return known, false
	}
	var all []addrset.Set
	for e := range s.Table.All() {
		if e.Set == info(f).name("own") {
			lo, ok1 := endOf(s.Table.Spec, e.Set, e.From)
			hi, ok2 := endOf(s.Table.Spec, e.Set, e.To)
			if ok1 && ok2 {
				all = append(all, addrset.Between(lo, hi))
			}
		}
	}
	if s.reach == nil {
		s.reach = map[hostport.Family]addrset.Set{}
	}
	s.reach[f] = addrset.Union(all...)
	return s.reach[f], false
}

// endOf is the address in a key of the sets own.
func endOf(spec nfttable.Spec, set, key string) (a netip.Addr, ok bool) {
	parts, ok := spec.Set(set).Parts(key)
	if ok {
		a, ok = netip.AddrFromSlice(parts[0])
	}
	return a, ok
}
