// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
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
	// plan is how it is put back, nil if it is not.
	plan *plan
}

// A plan is what an attachment gets back. Kept are those of its mappings that are its own still,
// left those that it leaves to others.
type plan struct {
	putting
	kept, left []hostport.Mapping
	warnings   []conflict.Finding
}

// refuse notes why an attachment is not put right. That of others may be.
func (r *repair) refuse(err error) {
	if err != nil {
		r.Refused = cmp.Or(r.Refused, err.Error())
	}
}

// planBack plans how an attachment gets what it lacks, where it belongs by now. What somebody
// else has by now stays there; so does what another interface of its container has. What
// works is moved, whoever else has come.
func (s *Session) planBack(r *repair, find finder) error {
	rec := r.next
	rec.Backend = s.home(&rec).Backend
	if err := s.relink(&rec); err != nil {
		return err
	}
	a, key, works := rec.Attachment, r.Owner.Key(), len(s.lacks(&r.next)) == 0
	kept, left := a.Mappings, []hostport.Mapping(nil)
	if !works { // else it stands beside what its container has, and that moves, too
		kept, left = leaveToOwners(a, a.Mappings, ofContainer(a.Owner.ContainerID, s.Claimants(a.Mappings)), rec.Backend)
	}
	a.Mappings = kept
	report, err := find(a, rec.Backend)
	if err != nil {
		return err
	}
	a.Carves, a.Flows = joined(a.Carves, report.Carves), report.Flows
	if len(report.Conflicts) > 0 && !works {
		r.Refused = report.Conflicts[0].Message
		if a.Mappings = s.free(key, kept, report.Conflicts); len(a.Mappings) == 0 {
			return nil
		}
	}
	r.plan = &plan{putting{a, rec.Backend, report.TakeOver}, kept, left, report.Warnings}
	return nil
}

// putBack does what was planned for all, at once. What is no use for one is not done.
func (s *Session) putBack(all []*repair) {
	for before, done := slices.Clone(s.want), false; !done; {
		s.want, done = slices.Clone(before), true
		var puttings []putting
		for _, r := range all {
			if r.plan != nil {
				puttings = append(puttings, r.plan.putting)
			}
		}
		if len(puttings) > 0 {
			s.PutAll(puttings)
		}
		for _, r := range all {
			if r.plan == nil {
				continue
			}
			stays := missing(s.backends, s.want, r.plan.where, r.plan.a)
			if slices.Equal(stays, r.lost) {
				r.plan, r.Refused, done = nil, stays[0], false
			} else if len(stays) > 0 {
				r.Refused = cmp.Or(r.Refused, stays[0])
			}
		}
	}
	for _, r := range all {
		if r.plan != nil {
			s.note(r)
		}
	}
}

// note notes what an attachment has got back.
func (s *Session) note(r *repair) {
	p := r.plan
	p.a.LocalnetWas = s.wasOn(r.Owner.Key()) // portguard may switch on what was on before
	r.Put, r.now, r.found, r.dead = true, p.a, p.warnings, p.instead
	next := &r.next.Attachment
	next.LocalnetWas, next.Mappings, next.Carves, next.Flows = p.a.LocalnetWas, p.kept, p.a.Carves, p.a.Flows
	r.next.Backend, r.next.Left = p.where, slices.Concat(r.next.Left, p.left)
}

// apart puts right what it can of what could not be put right at once: what fails for one is not
// lost for all. Others wait for it: what is not tried until then has failed for why.
func (s *Session) apart(repairs []*repair, why error, until time.Time) {
	for _, r := range repairs {
		if !r.Put {
			continue
		}
		err := why
		if s.Now().Before(until) {
			s.want = slices.Clone(s.have)
			s.renew()
			s.Put(r.now, r.next.Backend, r.dead...)
			err = s.Apply(nil)
		}
		if err != nil {
			r.Put, r.Refused = false, told(err, CodeApply)
		}
		if errors.Is(err, backend.ErrNotUndone) { // what is there now is not known
			why, until = err, time.Time{}
		}
	}
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

// missing lists what an attachment lacks in each backend, of which one of its forms is enough.
func missing(bs []backend.Backend, states []backend.State, where string, forms ...hostport.Attachment) (out []string) {
	for i, b := range bs {
		if !place.Has(b.Name(), where) {
			continue
		}
		var lost []string
		for _, a := range forms {
			if lost = states[i].Missing(a); len(lost) == 0 {
				break
			}
		}
		out = append(out, lost...)
	}
	return out
}
