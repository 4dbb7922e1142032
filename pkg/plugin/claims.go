// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"slices"

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
	at := map[uint16][]hostport.Mapping{}
	for _, m := range ms {
		at[m.HostPort] = append(at[m.HostPort], m)
	}
	all := s.Claims()
	for _, c := range append(all, s.lost(ms, all)...) {
		if !slices.ContainsFunc(at[c.Mapping.HostPort], c.Mapping.Overlaps) {
			continue
		}
		if !c.Foreign {
			s.complete(&c)
		}
		out = append(out, c)
	}
	return out
}

// lost are those of the mappings in records that overlap some of ms and have no rules:
// somebody flushed them, perhaps those of one map only.
func (s *Session) lost(ms []hostport.Mapping, claims []hostport.Claim) (out []hostport.Claim) {
	has := map[hostport.Key][]hostport.Mapping{}
	for _, c := range claims {
		has[c.Key] = append(has[c.Key], c.Mapping)
	}
	for _, key := range s.Store.Keys() {
		if s.pending[key] || slices.Contains(s.dropped, key) {
			continue
		}
		if rec := s.Record(key); rec != nil {
			for _, m := range rec.Attachment.Mappings {
				if slices.ContainsFunc(ms, m.Overlaps) && !slices.ContainsFunc(has[key], m.SameKey) {
					out = append(out, rec.Claim(m))
				}
			}
		}
	}
	return out
}

func (s *Session) complete(c *hostport.Claim) {
	var a hostport.Attachment
	rec := s.Record(c.Key)
	if rec != nil {
		a = rec.Attachment
		c.Owner, c.Part = a.Owner, a.Restricted(c.Mapping.Family)
	} else {
		a, _ = s.Recover(c.Key)
	}
	if c.Key != "" {
		c.Life, c.Unsure = s.Life(c.Owner, rec)
	}
	c.Dst = s.at(c.Backend, a, c.Mapping)
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
	for _, m := range part.Mappings {
		if !slices.Contains(a.Mappings, m) {
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
