// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/state"
)

// inherits reports whether nobody has by now what an attachment left to others: another
// interface of a container takes over when the one that had the port goes.
func (s *Session) inherits(rec *state.Record) bool {
	if len(rec.Left) == 0 || len(s.unread) > 0 { // who has it is not known
		return false
	}
	free, _ := leaveToOwners(rec.Attachment, rec.Left, s.Claimants(rec.Left), s.home(rec).Backend)
	return len(free) > 0
}

// inherit puts what an attachment waits for and nobody has where it belongs.
func (s *Session) inherit(r *repair, find finder) (err error) {
	a, where := r.now, s.home(&r.next).Backend
	free, left := leaveToOwners(r.next.Attachment, r.next.Left, s.Claimants(r.next.Left), where)
	if len(free) == 0 {
		return nil
	}
	asked := a
	asked.Mappings = free
	a.Mappings = slices.Concat(a.Mappings, free)
	if wanted := a.Link != "" && !a.Localhost; wanted && needsLocalhost(a) {
		a.Localhost = true
		if a.LocalnetWas, err = s.localnetWas(a.Link); err != nil {
			return err
		}
	}
	report, err := find(asked, where)
	if err != nil {
		return err
	}
	if len(report.Conflicts) > 0 {
		r.Refused = cmp.Or(r.Refused, fmt.Sprintf("%s does not take over: %s", r.Owner.IfName, report.Conflicts[0].Message))
		return nil
	}
	a.Carves = joined(a.Carves, report.Carves)
	a.Flows = hostport.Meeting(slices.Concat(a.Flows, report.Flows), a.Mappings)
	s.Put(a, where, report.TakeOver...)
	r.Put, r.now, r.found, r.dead = true, a, slices.Concat(r.found, report.Warnings), slices.Concat(r.dead, report.TakeOver)
	next := &r.next.Attachment
	next.Mappings, next.Localhost, next.LocalnetWas, next.Carves = slices.Concat(next.Mappings, free), next.Localhost || a.Localhost, a.LocalnetWas, a.Carves
	next.Flows = a.Flows
	r.next.Left, r.next.Backend = left, where
	return nil
}

// ofContainer are those of the claims that one container has.
func ofContainer(id string, claims []hostport.Claim) []hostport.Claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c hostport.Claim) bool { return c.Owner.ContainerID != id })
}

// leaveToOwners splits mappings into those that an attachment may have now and those that
// another live one keeps. A wildcard may stand beside another's single address
// only in the same backend; in two, the first would take everything.
func leaveToOwners(a hostport.Attachment, ms []hostport.Mapping, claims []hostport.Claim, backend string) (kept, left []hostport.Mapping) {
	at, key := map[uint16][]hostport.Claim{}, a.Owner.Key()
	for _, c := range claims {
		if c.Key != key && c.Life != hostport.Dead && !c.Foreign {
			at[c.Mapping.HostPort] = append(at[c.Mapping.HostPort], c)
		}
	}
	if len(at) == 0 { // as for most
		return ms, nil
	}
	for _, m := range ms {
		owned := slices.ContainsFunc(at[m.HostPort], func(c hostport.Claim) bool {
			beside := m.Wildcard() && !c.Mapping.Wildcard() && c.Backend == backend
			return c.Mapping.Overlaps(m) && !beside && !c.Apart(&a, m)
		})
		if owned {
			left = append(left, m)
		} else {
			kept = append(kept, m)
		}
	}
	return kept, left
}
