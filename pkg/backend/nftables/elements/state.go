// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// A State is what attachments have in the table of the mappings, or should have.
type State struct {
	Table *nfttable.Table
	// Within are the destinations at which mappings may be.
	Within map[hostport.Family]addrset.Set
	// claims are its Claims once somebody has asked, owners those whose comments were read in it
	// or in a State that it was made of.
	claims []hostport.Claim
	owners owners
	// reach are the destinations in the sets own, as far as they were asked for.
	reach map[hostport.Family]addrset.Set
	// strays are the elements of nobody that keep packets from mappings, once somebody has asked.
	strays []nfttable.Element
}

// known is s.owners, made if need be.
func (s *State) known() owners {
	if s.owners == nil {
		s.owners = owners{}
	}
	return s.owners
}

var _ backend.State = (*State)(nil)

// Stranger names the table if it is somebody else's, or that of another version.
func (s *State) Stranger() string {
	if s.Table.Stranger == nil {
		return ""
	}
	return s.Table.Spec.Table.String()
}

// Misplaced lists, in words, what of the shared part is not as it must be.
func (s *State) Misplaced() []string {
	if s.Stranger() != "" {
		return nil
	}
	return broken(s.Table)
}

func broken(t *nfttable.Table) []string {
	var out []string
	for _, part := range t.Broken {
		out = append(out, "table "+t.Spec.Table.String()+": "+part+" is not as installed")
	}
	return out
}

// With implements backend.State. An element that somebody else has stays with them.
func (s *State) With(a hostport.Attachment, instead ...hostport.Key) backend.State {
	return s.WithAll([]hostport.Attachment{a}, instead...)
}

// WithAll implements backend.State.
func (s *State) WithAll(as []hostport.Attachment, instead ...hostport.Key) backend.State {
	var all []nfttable.Element
	pods := map[netip.Addr]bool{}
	for _, a := range as {
		n := len(all)
		if all = and(all, a); len(all) > n {
			for _, p := range a.Pods {
				pods[p.Addr()] = true
			}
		}
	}
	t := s.remove(slices.Concat(instead, hostport.Keys(as)), func(e nfttable.Element) bool {
		// Of a pod that had the address when the node had other networks.
		pod, ok := neighbour(s.Table.Spec, e)
		return ok && pods[pod]
	})
	// The node's own first: else all would be cloned once more.
	if d, put := t.With(s.own(nil)).Fill(all); len(put) > 0 {
		if t = d; slices.ContainsFunc(put, func(e nfttable.Element) bool { return e.Goto != "" }) {
			t = t.With(nil, chainsTo(put, as)...)
		}
	}
	return &State{Table: s.settled(t), Within: s.Within, owners: s.owners}
}

// chainsTo are the chains of attachments to which elements lead.
func chainsTo(elements []nfttable.Element, as []hostport.Attachment) (out []nfttable.Conditions) {
	to := map[string]bool{}
	for _, e := range elements {
		to[e.Goto] = true
	}
	for _, a := range as {
		if c, ok := conditions(a); ok && to[c.Name] {
			out = append(out, c)
		}
	}
	return out
}

// Without implements backend.State.
func (s *State) Without(keys ...hostport.Key) backend.State {
	return &State{Table: s.settled(s.remove(keys, func(nfttable.Element) bool { return false })), Within: s.Within, owners: s.owners}
}

// remove drops what attachments have, what nobody has, and what is stale.
func (s *State) remove(keys []hostport.Key, stale func(nfttable.Element) bool) *nfttable.Table {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k hostport.Key) bool { return k == "" }) // what is shared has none
	var prefixes []string
	for _, k := range keys {
		prefixes = append(prefixes, chainPrefix(k))
	}
	seen, gone := s.known(), map[hostport.Key]bool{}
	for _, k := range keys {
		gone[k] = true
	}
	return s.Table.Without(func(e nfttable.Element) bool {
		return strings.HasPrefix(e.Comment, ownerPrefix) && gone[seen.of(e).key] || stray(e) || stale(e)
	}, prefixes...)
}

// Links are the attachments that a link with route_localnet leads to, by its name.
func (s *State) Links() map[string][]hostport.Key {
	out, seen := map[string][]hostport.Key{}, s.known()
	for e := range s.Table.All() {
		if e.Set != setLinks {
			continue
		}
		if parts, ok := s.Table.Spec.Set(setLinks).Parts(e.From); ok && seen.of(e).key != "" {
			link := nfttable.LinkOf(parts[0])
			out[link] = append(out[link], seen.of(e).key)
		}
	}
	return out
}

// An owner is whose an element is, by its comment. The key of a shared one is "".
type owner struct {
	hostport.Owner
	key hostport.Key
}

// owners are those that were read, by comment: an attachment has many elements.
type owners map[string]owner

func (seen owners) of(e nfttable.Element) owner {
	o, known := seen[e.Comment]
	if !known {
		o.Owner, o.key, _ = hostport.ParseTag(e.Comment)
		seen[e.Comment] = o
	}
	return o
}

// ownerPrefix begins the comment of each element that has an owner.
const ownerPrefix = "portguard "
