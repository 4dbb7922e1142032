// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
)

// inherit gives living attachments what they left to others where nobody has it any more:
// another interface of a container takes over when the one that had the port goes. Those
// that were dropped or replaced get nothing. It returns the records of the heirs, as they
// should be then.
func (s *Session) inherit(replaced ...hostport.Key) (heirs []state.Record) {
	s.dropped = append(s.dropped, replaced...) // their records tell what was
	if len(s.unread) > 0 {                     // who has it is not known
		return nil
	}
	for _, rec := range s.waiting() {
		next, err := s.heir(rec)
		if err != nil {
			s.warn(fmt.Sprintf("%s does not take over hostPort %s: %v", rec.Attachment.Owner, rec.Left[0], err))
		} else if len(next.Left) < len(rec.Left) {
			heirs = append(heirs, next)
		}
	}
	return heirs
}

// keep writes the records of heirs that have their rules, and makes the UDP flows of what
// they inherited theirs. A kill before that is made good when they inherit again.
func (s *Session) keep(heirs []state.Record) {
	s.save(heirs)
	for _, rec := range heirs {
		s.dropUDP(rec.Attachment, false, nil)
	}
}

// waiting are the records of living attachments that left mappings to others, the oldest
// first.
func (s *Session) waiting() (out []*state.Record) {
	for _, key := range s.Store.Keys() {
		rec := s.Record(key)
		if rec == nil || len(rec.Left) == 0 || slices.Contains(s.dropped, key) {
			continue
		}
		if life, _ := s.Life(rec.Attachment.Owner, rec); life == hostport.Alive {
			out = append(out, rec)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Attachment.Owner.IfName, b.Attachment.Owner.IfName)) < 0
	})
	return out
}

// heir puts what an attachment waits for and nobody has where it belongs.
func (s *Session) heir(rec *state.Record) (next state.Record, err error) {
	next = *rec
	a, where := &next.Attachment, s.belongs(rec)
	free, left := leaveToOwners(rec.Left, s.Claimants(rec.Left), a.Owner.Key(), where)
	if len(free) == 0 {
		return next, nil
	}
	had := a.Mappings
	a.Mappings = slices.Concat(had, free)
	if wanted := a.Link != "" && !a.Localhost; wanted && needsLocalhost(*a) {
		a.Localhost = true
		if a.LocalnetWas, err = s.localnetWas(a.Link); err != nil {
			return next, err
		}
	}
	asked := *a
	if len(s.Missing(rec.Attachment, rec.Backend)) == 0 {
		asked.Mappings = free
	}
	report, err := s.Find(asked, place.Order(where))
	if err == nil && len(report.Conflicts) > 0 {
		err = fmt.Errorf("%s", conflict.Messages(report.Conflicts)[0])
	}
	if err != nil {
		next.Left = rec.Left
		return next, err
	}
	a.Carves, a.Flows = slices.Concat(a.Carves, report.Carves), hostport.Meeting(slices.Concat(a.Flows, report.Flows), a.Mappings)
	next.Left, next.Backend = left, where
	s.Put(*a, where, report.TakeOver...)
	return next, nil
}

// ofContainer are those of the claims that one container has.
func ofContainer(id string, claims []hostport.Claim) []hostport.Claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c hostport.Claim) bool { return c.Owner.ContainerID != id })
}

// leaveToOwners splits mappings into those that an attachment may have now and those that
// another live one keeps. A wildcard may stand beside another's single address
// only in the same backend; in two, the first would take everything.
func leaveToOwners(ms []hostport.Mapping, claims []hostport.Claim, key hostport.Key, backend string) (kept, left []hostport.Mapping) {
	for _, m := range ms {
		owned := slices.ContainsFunc(claims, func(c hostport.Claim) bool {
			beside := m.Wildcard() && !c.Mapping.Wildcard() && c.Backend == backend
			return c.Key != key && c.Life != hostport.Dead && !c.Foreign && c.Mapping.Overlaps(m) && !beside
		})
		if owned {
			left = append(left, m)
		} else {
			kept = append(kept, m)
		}
	}
	return kept, left
}
