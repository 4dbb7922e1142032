// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/way"
)

// A verdict is what the node does with packets to a mapping that is in place: those from outside, to a
// loopback address those of its own.
type verdict struct {
	ways []way.Way
	// other has a claim on the port too, nil if nobody has. Takes is set if it has packets
	// of the mapping, some if it has some of them, or may.
	other       *conflict.Finding
	takes, some bool
}

// judge says what becomes of the packets to each mapping of portguard's that is in place, in
// the order of the claims. Of the dead nothing is said.
func (v *view) judge() ([]verdict, error) {
	var ms []hostport.Mapping
	for _, a := range v.attachments {
		ms = append(ms, a.Mappings...)
	}
	var out []verdict
	err := v.survey(v.Session, ms, false, func(sv *survey) error {
		out = make([]verdict, len(v.claims))
		contested, err := v.contested(sv)
		if err != nil {
			return err
		}
		for i, c := range v.claims {
			if c.Foreign || v.life[c.Key] == hostport.Dead {
				continue
			}
			a := v.attachments[c.Key]
			v.progress("following packets to the ports of %s", a.Owner)
			a.Owner, a.Mappings = hostport.Owner{}, []hostport.Mapping{c.Mapping}
			side, to := way.Outside, sv.summary(a, c.Mapping)
			if c.Mapping.HostIP.IsLoopback() { // nobody else gets there
				side, to = way.Self, []netip.Addr{c.Mapping.HostIP}
			}
			ways, err := sv.ways(side, a, place.Order(v.where(c.Key)), to)
			if err != nil {
				return err
			}
			out[i] = of(c, ways, contested[c.Key])
		}
		return nil
	})
	return out, err
}

// of is the verdict on one mapping.
func of(c hostport.Claim, all []way.Way, contested []conflict.Finding) (v verdict) {
	for _, w := range all { // slices.DeleteFunc is 1 KB of the program for each type
		if !slices.Contains(c.NotBy, w.Source.Link.Name) {
			v.ways = append(v.ways, w)
		}
	}
	ways := v.ways
	for _, w := range ways {
		if w.Taker != nil && w.Taker.Key != c.Key {
			v.other, v.takes = w.Taker, true
			return v
		}
	}
	shut := way.Shut(ways) != nil // and what hides the mapping is what closes them
	i := slices.IndexFunc(contested, func(f conflict.Finding) bool {
		// A BPF program is asked after the mapping, and for what is not known.
		aside := f.Kind == finding.SocketProgram || shut && f.Kind == finding.Hidden || slices.Contains(c.NotBy, f.By)
		return f.Mapping.SameKey(c.Mapping) && !aside
	})
	if i >= 0 {
		v.other = &contested[i]
		v.some = slices.ContainsFunc(ways, func(w way.Way) bool {
			return slices.ContainsFunc(w.Unless, func(f conflict.Finding) bool { return f.Who == contested[i].Who && f.Where == contested[i].Where })
		})
	}
	return v
}

// contested finds, for each live attachment that is in place, what an ADD of it would be
// refused for now. What is for a link that is not there takes nothing.
func (v *view) contested(sv *survey) (map[hostport.Key][]conflict.Finding, error) {
	out := map[hostport.Key][]conflict.Finding{}
	finders := map[conflict.Place]*conflict.Finder{}
	for key, a := range v.attachments {
		if v.life[key] == hostport.Dead {
			continue
		}
		v.progress("asking who else has the ports of %s", a.Owner)
		snap := sv.snap
		snap.Claims = nil // the kernel has one owner for each key
		snap.From = conflict.From{Links: sv.links}
		snap.Place = place.Order(v.where(key))
		if finders[snap.Place] == nil {
			finders[snap.Place] = conflict.NewFinder(snap)
		}
		r, err := finders[snap.Place].Find(a)
		if err != nil {
			return nil, err
		}
		out[key] = r.Conflicts
		for _, f := range r.Beside { // a later ADD would leave its link alone; this one may not
			if f.Kind == finding.Listener && f.By != "" && !f.Mapping.Wildcard() {
				out[key] = append(out[key], f)
			}
		}
	}
	return out, nil
}

// summary are addresses that stand for all of a mapping: on each link to the outside the one
// that packets by that link are for.
func (sv *survey) summary(a hostport.Attachment, m hostport.Mapping) (out []netip.Addr) {
	var own addrset.Set
	for _, x := range sv.own {
		own = own.Or(addrset.Between(x, x))
	}
	own = own.And(a.Destinations(sv.snap.Local, m))
	for _, src := range sv.outside {
		if src.Node.IsValid() && own.Contains(src.Node) && !slices.Contains(out, src.Node) {
			out = append(out, src.Node)
		}
	}
	if len(out) == 0 && len(own) > 0 {
		out = append(out, own[0].Lo)
	}
	return out
}
