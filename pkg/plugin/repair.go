// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"slices"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/state"
)

// A repair is what becomes of an attachment that has not what it should.
type repair struct {
	Restored
	// lost is what it lacked.
	lost []string
	// now is what it is to have in place, next its record then, which tells of more where
	// somebody else has that by now.
	now  hostport.Attachment
	next state.Record
	// found is what does not refuse it, dead are those whose ports it takes over.
	found []conflict.Finding
	dead  []hostport.Key
}

// refuse notes why an attachment is not put right. That of others may be.
func (r *repair) refuse(err error) {
	if err != nil {
		r.Refused = cmp.Or(r.Refused, err.Error())
	}
}

// putBack makes an attachment have what it lacks, where it belongs by now. What somebody
// else has by now stays there; so does what another interface of its container has. What
// works is moved, whoever else has come.
func (s *Session) putBack(r *repair, find finder) error {
	rec := r.next
	rec.Backend = s.home(&rec).Backend
	if err := s.relink(&rec); err != nil {
		return err
	}
	a, key := &rec.Attachment, r.Owner.Key()
	kept, left := leaveToOwners(a.Mappings, ofContainer(a.Owner.ContainerID, s.Claimants(a.Mappings)), key, rec.Backend)
	a.Mappings = kept
	report, err := find(*a, rec.Backend)
	if err != nil {
		return err
	}
	a.Carves, a.Flows = joined(a.Carves, report.Carves), report.Flows
	if works := len(s.Missing(r.now, r.next.Backend)) == 0; len(report.Conflicts) > 0 && !works {
		r.Refused = report.Conflicts[0].Message
		if a.Mappings = s.free(key, kept, report.Conflicts); len(a.Mappings) == 0 {
			return nil
		}
	}
	before := slices.Clone(s.want)
	s.Put(*a, rec.Backend, report.TakeOver...)
	if stays := missing(s.backends, s.want, *a, rec.Backend); slices.Equal(stays, r.lost) {
		s.want, r.Refused = before, stays[0]
		return nil
	} else if len(stays) > 0 {
		r.Refused = cmp.Or(r.Refused, stays[0])
	}
	a.LocalnetWas = s.wasOn(key) // portguard may switch on what was on before
	r.next.Attachment.LocalnetWas = a.LocalnetWas
	r.Put, r.now, r.found, r.dead = true, *a, report.Warnings, report.TakeOver
	r.next.Backend, r.next.Attachment.Mappings, r.next.Attachment.Carves = rec.Backend, kept, a.Carves
	r.next.Attachment.Flows = a.Flows
	r.next.Left = slices.Concat(r.next.Left, left)
	return nil
}

// free are those of the mappings of an attachment that nobody has by now. There are none if
// somebody has one that is in place in part: it would have to be changed.
func (s *Session) free(key hostport.Key, ms []hostport.Mapping, taken []conflict.Finding) []hostport.Mapping {
	var placed []hostport.Mapping
	for _, st := range s.have {
		for _, c := range st.Claims() {
			if c.Key == key {
				placed = append(placed, c.Mapping)
			}
		}
	}
	for _, f := range taken {
		if slices.ContainsFunc(placed, f.Mapping.SameKey) {
			return nil
		}
	}
	return slices.DeleteFunc(slices.Clone(ms), func(m hostport.Mapping) bool {
		return slices.ContainsFunc(taken, func(f conflict.Finding) bool { return f.Mapping == m })
	})
}

// joined are all of two lists, each once.
func joined[T comparable](a, b []T) []T {
	out := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}
