// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
)

// Claims are the mappings of all backends, as they should be.
func (s *Session) Claims() []hostport.Claim {
	var out []hostport.Claim
	for _, st := range s.want {
		out = append(out, st.Claims()...)
	}
	return out
}

// Claimants are the claims that overlap some of ms, completed with what their records
// tell: the pod's name, and whether the owner lives. Without a record the comment
// tells the namespace.
func (s *Session) Claimants(ms []hostport.Mapping) []hostport.Claim {
	var out []hostport.Claim
	at, all := hostport.ByPort(ms), []hostport.Claim(nil)
	for _, st := range s.want {
		claims := st.Claims() // of all that the node has
		for i := range claims {
			if slices.ContainsFunc(at[claims[i].Mapping.HostPort], claims[i].Mapping.Overlaps) {
				all = append(all, claims[i])
			}
		}
	}
	known := scopes{}
	for _, c := range append(all, s.lost(at, all)...) {
		if !c.Foreign {
			s.complete(&c, known)
		}
		out = append(out, c)
	}
	return out
}

// lost are those of the mappings in records that overlap some of those at a port and have no
// rules: somebody flushed them, perhaps those of one map only.
func (s *Session) lost(at map[uint16][]hostport.Mapping, claims []hostport.Claim) (out []hostport.Claim) {
	type mappingOf struct {
		hostport.Key
		hostport.Mapping
	}
	has := map[mappingOf]bool{}
	for _, c := range claims {
		if len(at[c.Mapping.HostPort]) > 0 {
			has[mappingOf{c.Key, c.Mapping.Traffic()}] = true
		}
	}
	for _, key := range s.recorded(at) {
		if s.pending[key] || slices.Contains(s.dropped, key) {
			continue
		}
		if rec := s.Record(key); rec != nil {
			for _, m := range rec.Attachment.Mappings {
				if slices.ContainsFunc(at[m.HostPort], m.Overlaps) && !has[mappingOf{key, m.Traffic()}] {
					out = append(out, rec.Claim(m))
				}
			}
		}
	}
	return out
}

// recorded are the keys of those that have a record with one of some ports.
func (s *Session) recorded(at map[uint16][]hostport.Mapping) (keys []hostport.Key) {
	if s.byPort == nil {
		s.byPort = map[uint16][]hostport.Key{}
		for _, key := range s.Store.Keys() {
			if rec := s.Record(key); rec != nil {
				for _, m := range rec.Attachment.Mappings {
					if keys := s.byPort[m.HostPort]; len(keys) == 0 || keys[len(keys)-1] != key {
						s.byPort[m.HostPort] = append(keys, key)
					}
				}
			}
		}
	}
	for port := range at {
		keys = append(keys, s.byPort[port]...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// scopes are the addresses at which wildcard mappings are in place: those of an attachment
// and a family are the same, whatever the port.
type scopes map[scoped]scope

type scoped struct {
	hostport.Key
	hostport.Family
	backend string
}

type scope struct {
	a      hostport.Attachment
	known  bool // by a record
	addrs  addrset.Set
	within addrset.Set
	life   hostport.Life
	unsure string
	// cut is what does not get to it. What leads to a link that is gone is not missing.
	cut hostport.Cut
}

func (s *Session) complete(c *hostport.Claim, known scopes) {
	key := scoped{c.Key, c.Mapping.Family, c.Backend}
	of, seen := known[key]
	if !seen {
		of = s.scope(c)
		known[key] = of
	}
	if of.known {
		c.Owner, c.Part, c.Excludes = of.a.Owner, of.a.Restricted(c.Mapping.Family), of.a.Excludes
	}
	if c.Key != "" {
		c.Life, c.Unsure = of.life, of.unsure
	}
	c.Dst = c.Mapping.In(of.addrs, of.a.Carves).And(of.within)
	if c.Lost {
		return
	}
	if c.Cut = of.cut &^ hostport.CutWildcard; of.cut != c.Cut && c.Mapping.Wildcard() {
		c.Cut |= hostport.CutLocalhost
	}
}

// Cut says which packets what is missing keeps from the mappings of a family that an attachment has
// in place in the backend where.
func (s *Session) Cut(a hostport.Attachment, where string, f hostport.Family) (cut hostport.Cut) {
	a.Mappings = a.Of(f)
	for i, b := range s.backends {
		if st, ok := s.want[i].(interface {
			Cut(hostport.Attachment) hostport.Cut
		}); ok && place.Has(b.Name(), where) {
			cut |= st.Cut(a)
		}
	}
	return cut
}

// scope is what all claims of an attachment and a family have in common.
func (s *Session) scope(c *hostport.Claim) (of scope) {
	rec, owner := s.Record(c.Key), c.Owner
	if of.known = rec != nil; of.known {
		of.a, owner = rec.Attachment, rec.Attachment.Owner
		of.cut = s.Cut(of.a, c.Backend, c.Mapping.Family)
		if here := *rec; of.cut&(hostport.CutLocalhost|hostport.CutWildcard) != 0 && s.relink(&here) == nil {
			of.cut = s.Cut(here.Attachment, c.Backend, c.Mapping.Family)
		}
	} else {
		of.a, _ = s.Recover(c.Key)
	}
	if c.Key != "" {
		of.life, of.unsure = s.Life(owner, rec)
	}
	of.addrs, of.within = s.scopeIn(c.Backend, of.a, c.Mapping.Family)
	return of
}

// Recover rebuilds an attachment from what the kernel tells of it.
func (s *Session) Recover(key hostport.Key) (a hostport.Attachment, ok bool) {
	for _, st := range s.want {
		part, some := st.Recover(key)
		if !some {
			continue
		}
		if !ok {
			a, ok = part, true
			continue
		}
		join(&a, part)
	}
	return a, ok
}

// join completes what one place tells of an attachment with what another one does.
func join(a *hostport.Attachment, part hostport.Attachment) {
	if a.Owner == (hostport.Owner{}) {
		a.Owner = part.Owner
	}
	if part.Link != "" {
		a.Link, a.Localhost = part.Link, part.Localhost
	}
	a.LocalnetWas = a.LocalnetWas || part.LocalnetWas // only the guard knows
	known := hostport.ByPort(a.Mappings)
	for _, m := range part.Mappings {
		if !slices.Contains(known[m.HostPort], m) {
			a.Mappings = append(a.Mappings, m)
		}
	}
	for _, p := range part.Pods {
		if _, has := a.Pod(hostport.FamilyOf(p.Addr())); !has {
			a.Pods = append(a.Pods, p)
		}
	}
	a.Carves, a.Excludes = append(a.Carves, part.Carves...), append(a.Excludes, part.Excludes...)
	a.Flows = append(a.Flows, part.Flows...)
	if len(a.Networks) == 0 {
		a.Networks = part.Networks
	}
}

// holder is the name of the backend that holds mappings of the attachment, "" if none
// does.
func (s *Session) holder(key hostport.Key) string {
	for i, b := range s.backends {
		if _, ok := s.have[i].Recover(key); ok && slices.Contains(place.Mappers(), b.Name()) {
			return b.Name()
		}
	}
	return ""
}
