// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"maps"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/hostport"
)

// priority is that of the chains of table nat before the routing (NF_IP_PRI_NAT_DST).
const priority = -100

// A State is what is, or should be, in one flavour.
type State struct {
	name  string
	parts []part
}

var _ backend.State = (*State)(nil)

// A part is one family of a State.
type part struct {
	family hostport.Family
	layout *ruleset.Layout
	sets   []ruleset.Set
	// absent is set if there was no table when the part was loaded.
	absent bool
	// within are the destinations at which mappings may be.
	within addrset.Set
	// native is set if iptables cannot show the table, refused if an attachment is to be
	// put there all the same.
	native  *native
	refused bool
}

// Claims are the mappings of both families.
func (s *State) Claims() []hostport.Claim {
	var out []hostport.Claim
	for _, p := range s.parts {
		claims := p.layout.Claims()
		for i := range claims {
			c := &claims[i]
			c.Backend, c.Where, c.Priority = s.name, s.name+" table nat", priority
		}
		out = append(out, claims...)
	}
	return out
}

// Links are the attachments that a link leads to from localhost, by its name.
func (s *State) Links() map[string][]hostport.Key {
	out := map[string][]hostport.Key{}
	for _, p := range s.parts { // only IPv4 has any
		maps.Copy(out, p.layout.Links())
	}
	return out
}

// With has the attachment's rules in the families that it has mappings of.
func (s *State) With(a hostport.Attachment, instead ...hostport.Key) backend.State {
	return s.WithAll([]hostport.Attachment{a}, instead...)
}

// WithAll has what all attachments need.
func (s *State) WithAll(as []hostport.Attachment, instead ...hostport.Key) backend.State {
	own := hostport.Keys(as) // what they have is replaced in its place
	gone := slices.DeleteFunc(slices.Clone(instead), func(k hostport.Key) bool { return slices.Contains(own, k) })
	return s.each(func(p *part) {
		if len(gone) > 0 {
			p.layout = p.layout.Remove(gone...)
		}
		asks := func(a hostport.Attachment) bool { return len(a.Of(p.family)) > 0 }
		some := slices.ContainsFunc(as, asks)
		p.refused, p.absent = p.refused || p.native != nil && some, p.absent && !some
		p.layout = p.layout.Put(p.sets, as...).Within(p.within)
	})
}

// Without has none of the attachments with those keys.
func (s *State) Without(keys ...hostport.Key) backend.State {
	return s.each(func(p *part) { p.layout = p.layout.Remove(keys...).Within(p.within) })
}

// Reach is where the rules let mappings of a family be.
func (s *State) Reach(f hostport.Family) (within addrset.Set, sparesServices bool) {
	for _, p := range s.parts {
		if p.family == f {
			return p.layout.Reach()
		}
	}
	return nil, false
}

// each is a copy of s with its parts changed.
func (s *State) each(change func(*part)) *State {
	out := &State{s.name, slices.Clone(s.parts)}
	for i := range out.parts {
		change(&out.parts[i])
	}
	return out
}

// Missing lists what the attachment lacks.
func (s *State) Missing(a hostport.Attachment) []string {
	var out []string
	for _, p := range s.parts {
		if p.native != nil && len(a.Of(p.family)) > 0 {
			out = append(out, p.native.err.Error())
			continue
		}
		for _, what := range p.layout.Check(a, p.sets) {
			out = append(out, fmt.Sprintf("%s: %s", s.name, what))
		}
	}
	return out
}

// Cut says which packets to the mappings of an attachment what is missing keeps away.
func (s *State) Cut(a hostport.Attachment) (cut hostport.Cut) {
	for _, p := range s.parts {
		cut |= p.layout.Cut(a)
	}
	return cut
}

// Whole compares the rules of the attachment in number and targets.
func (s *State) Whole(a hostport.Attachment) bool {
	return !slices.ContainsFunc(s.parts, func(p part) bool {
		return p.native != nil && len(a.Of(p.family)) > 0 || !p.layout.Whole(a, p.sets)
	})
}

// Misplaced lists jumps of ours that are lost or in the wrong place.
func (s *State) Misplaced() []string {
	var out []string
	for _, p := range s.parts {
		lost, moved := p.layout.Misplaced()
		for _, what := range append(lost, moved...) {
			out = append(out, fmt.Sprintf("%s (%s): %s", s.name, p.family, what))
		}
	}
	return out
}

// OutOfPlace lists what Missing says of jumps that are there in the wrong place: the
// mappings work.
func (s *State) OutOfPlace() []string {
	var out []string
	for _, p := range s.parts {
		_, moved := p.layout.Misplaced()
		for _, what := range moved {
			out = append(out, fmt.Sprintf("%s: %s %s", s.name, p.family, what))
		}
	}
	return out
}

// Recover rebuilds an attachment from its rules: all but its conditions.
func (s *State) Recover(key hostport.Key) (a hostport.Attachment, ok bool) {
	for _, p := range s.parts {
		r, there := p.layout.Recover(key)
		if !there {
			continue
		}
		if ok = true; r.Owner.ContainerID != "" {
			a.Owner = r.Owner
		}
		a.Pods = append(a.Pods, r.Pods...)
		a.Mappings = append(a.Mappings, r.Mappings...)
		a.Carves, a.Excludes, a.Networks = append(a.Carves, r.Carves...), append(a.Excludes, r.Excludes...), append(a.Networks, r.Networks...)
		a.Flows = append(a.Flows, r.Flows...)
		a.SNAT, a.MasqAll = a.SNAT || r.SNAT, a.MasqAll || r.MasqAll
		if r.Localhost {
			a.Localhost, a.Link = true, r.Link
		}
	}
	return a, ok
}
