// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
)

// excluded are the links that attachments exclude: self, and those with records. A link that
// carries addresses of others does so for every pod.
func (s *Session) excluded(self hostport.Attachment) hostport.Links {
	out := slices.Clone(self.ExcludeInterfaces)
	for _, key := range s.Store.Keys() {
		if rec := s.Record(key); rec != nil && key != self.Owner.Key() {
			out = append(out, rec.Attachment.ExcludeInterfaces...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// within are the destinations at which mappings may be. Addresses that an ipset follows
// need not be known.
func (s *Session) within() map[hostport.Family]addrset.Set {
	out := map[hostport.Family]addrset.Set{}
	for _, f := range hostport.Families() {
		others := s.On.Elsewhere && f == hostport.IPv6 || slices.ContainsFunc(s.On.Infrastructure, func(l string) bool {
			return l != hostport.IPVSLink || !slices.Contains(s.Facts.Followed, f)
		})
		out[f] = hostport.Reach(s.On.Local, f, others)
	}
	return out
}

// A reach is where a backend lets mappings of a family be, whatever they say.
type reach struct {
	within addrset.Set
	// sparesServices is set if it leaves those of kube-proxy's ipvs mode alone besides.
	sparesServices bool
}

type reachOf struct {
	backend string
	hostport.Family
}

// reachOf is where a backend lets mappings be as it was loaded.
func (s *Session) reachOf(name string, f hostport.Family) reach {
	key := reachOf{name, f}
	if known, ok := s.reach[key]; ok {
		return known
	}
	out := reach{within: addrset.All(f == hostport.IPv4)}
	for i, b := range s.backends {
		if x, ok := s.have[i].(reacher); ok && b.Name() == name {
			out.within, out.sparesServices = x.Reach(f)
		}
	}
	s.reach[key] = out
	return out
}

// A reacher is a State that holds mappings, and says where they may be.
type reacher interface {
	Reach(f hostport.Family) (within addrset.Set, sparesServices bool)
}

// scopeIn are the addresses that wildcard mappings of an attachment match in a backend, and
// within which all of its mappings are there.
func (s *Session) scopeIn(name string, a hostport.Attachment, f hostport.Family) (scope, within addrset.Set) {
	r := s.reachOf(name, f)
	local := slices.Clone(s.On.Local)
	for i := range local {
		if !r.sparesServices || local[i].Infrastructure != hostport.IPVSLink {
			local[i].Infrastructure = ""
		}
	}
	return a.Scope(local, f), r.within
}

// renew makes every backend follow the node, be there nothing else to change.
func (s *Session) renew() { s.Drop() }

// leave forgets the UDP flows to addresses of infrastructure that mappings were at before:
// those that are in use would lead to the pods for ever.
func (s *Session) leave() {
	for i := range s.backends {
		for _, f := range hostport.Families() {
			x, ok := s.have[i].(reacher)
			if !ok {
				continue
			}
			if at := s.taken(x, f); len(at) > 0 {
				s.warnOf(s.Node.DropUDP(f, leading(s.have[i].Claims(), f, at)), CodeApply)
			}
		}
	}
}

// taken are the addresses of infrastructure at which mappings are.
func (s *Session) taken(x reacher, f hostport.Family) addrset.Set {
	var out []addrset.Set
	within, spares := x.Reach(f)
	for _, l := range s.On.Local {
		if l.Infrastructure != "" && hostport.FamilyOf(l.Prefix.Addr()) == f && (!spares || l.Infrastructure != hostport.IPVSLink) {
			out = append(out, addrset.Of(l.Prefix))
		}
	}
	return addrset.Union(out...).And(within)
}

// leading are the UDP flows to those destinations that lead to pods.
func leading(claims []hostport.Claim, f hostport.Family, to addrset.Set) (out []host.Stale) {
	for _, c := range claims {
		if c.Mapping.Family == f && c.Mapping.Proto == hostport.UDP && c.Mapping.Wildcard() && c.Target.IsValid() {
			out = append(out, host.Stale{Mapping: c.Mapping, Dst: to, Pod: c.Target.Addr(), Gone: true})
		}
	}
	return out
}
