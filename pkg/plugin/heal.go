// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
)

// Lost lists, one line each, what the attachment of a record should have and has not: the
// one answer that CHECK, list, doctor, restore and healing have.
func (s *Session) Lost(rec *state.Record) []string {
	lost := s.lacks(rec)
	if choice := s.home(rec); choice.Backend != rec.Backend && len(rec.Attachment.Mappings) > 0 {
		lost = append(lost, fmt.Sprintf("its rules are in %s and belong in %s: %s", rec.Backend, choice.Backend, choice.Why))
	}
	return lost
}

// lacks lists what the attachment of a record has not where it is. A backend may have what leads
// to a link that is gone, or what is put back then: neither is lost.
func (s *Session) lacks(rec *state.Record) []string {
	lost, here := s.Missing(rec.Attachment, rec.Backend), *rec
	if len(lost) > 0 && rec.Attachment.Localhost && s.relink(&here) == nil {
		lost = missing(s.backends, s.have, rec.Backend, rec.Attachment, here.Attachment)
	}
	return lost
}

// home is where an attachment belongs by now: where it is, if the node cannot have it
// anywhere.
func (s *Session) home(rec *state.Record) place.Choice {
	w := wish(rec)
	choice, known := s.homes[w]
	if !known {
		var err error
		if choice, err = place.Of(w, s.Facts); err != nil {
			choice = place.Choice{Backend: rec.Backend}
		}
		s.homes[w] = choice
	}
	return choice
}

// wish is what the configuration of a record's ADD asked for.
func wish(rec *state.Record) place.Wish {
	return place.Wish{Backend: rec.Wanted, Syntax: place.Syntax(rec.Attachment), Now: rec.Backend}
}

// withOthers calls apply with living attachments put right in what is wanted. When that
// fails they are put right after it, one by one: nobody's call fails for others.
func (s *Session) withOthers(apply func() error) error {
	alone := slices.Clone(s.want)
	repairs, err := s.heal(false)
	s.warnOf(err, CodeUnreadable)
	err = apply()
	theirs := err != nil && !errors.As(err, new(undelivered)) && !errors.Is(err, backend.ErrNotUndone)
	if theirs && slices.ContainsFunc(repairs, func(r *repair) bool { return r.Put }) {
		why := err
		s.want = alone
		if err = apply(); err == nil { // else it was not for them, and may be tried again
			s.apart(repairs, why, s.Now().Add(s.Wait))
		}
	}
	if err != nil {
		s.letGo()
		return err
	}
	s.keep(repairs)
	s.tell(repairs)
	return nil
}

// letGo releases what heal holds, when that is not put in place.
func (s *Session) letGo() {
	if s.unhold != nil {
		s.unhold()
	}
}

// keep writes the records of what was repaired, and makes its UDP flows its own. A kill
// before that is made good by the next call: it is lost, or inherited, again.
func (s *Session) keep(repairs []*repair) {
	var moved []flows
	for _, r := range repairs {
		if r.Put {
			moved = append(moved, flows{r.now, false, r.found})
		}
	}
	s.dropUDP(moved...)
	for _, r := range repairs {
		if !r.Put {
			continue
		}
		s.warnOf(s.Store.Save(r.next), CodeApply)
		for _, key := range r.dead {
			s.warnOf(s.Store.Delete(key), CodeApply)
		}
	}
}

// tell says who was put right, and who was not and why, on one line each reason.
func (s *Session) tell(repairs []*repair) {
	var reasons []string
	who := map[string][]*repair{}
	for _, r := range repairs {
		what := cmp.Or(r.Refused, r.Unsure)
		if who[what] = append(who[what], r); len(who[what]) == 1 {
			reasons = append(reasons, what)
		}
	}
	for _, what := range reasons {
		first, others := who[what][0], ""
		if n := len(who[what]); n > 1 {
			others = fmt.Sprintf(" and %d more", n-1)
		}
		switch {
		case first.Refused != "":
			s.warn(fmt.Sprintf("hostPorts of %s%s are not put right: %s", first.Owner, others, what))
		case first.Unsure != "":
			s.warn(fmt.Sprintf("hostPorts of %s%s are not put right: nobody can tell from here whether it lives: %s; ask as root where the container runtime runs", first.Owner, others, what))
		case len(first.lost) > 0:
			s.warn(fmt.Sprintf("hostPorts of %s%s are put right: %s", first.Owner, others, first.lost[0]))
		}
	}
}

// heal makes living attachments have what they should, in what is wanted: what they lack,
// where they belong by now, and what they left to others where nobody has it any more. What
// somebody else has by now stays with them. Those that were dropped or replaced get
// nothing. Exact asks Missing of all.
func (s *Session) heal(exact bool) (all []*repair, err error) {
	needy := s.needy(exact)
	if len(needy) == 0 {
		return nil, nil
	}
	if err := s.unread.Or(); err != nil { // what cannot be read is not free
		for _, r := range needy {
			r.Refused = err.Error()
		}
		return needy, nil
	}
	var ms []hostport.Mapping
	var asked []hostport.Attachment
	for _, r := range needy {
		a := r.next.Attachment
		a.Mappings = slices.Concat(a.Mappings, r.next.Left)
		ms = slices.Concat(ms, a.Mappings)
		if r.Unsure == "" {
			asked = append(asked, a)
		}
	}
	if s.unhold, err = s.hold(asked...); err != nil {
		return nil, fmt.Errorf("hostPorts of %s and perhaps of others are not put right: %w", needy[0].Owner, err)
	}
	before := slices.Clone(s.want)
	err = s.Look(ms, conflict.Place{}, func(snap conflict.Snapshot) error {
		s.want = slices.Clone(before)
		all = s.repairAll(needy, s.finder(snap))
		return nil
	})
	if s.pending = nil; err != nil {
		s.want = before
		s.letGo()
		return nil, fmt.Errorf("hostPorts of %s and perhaps of others are not put right: %w", needy[0].Owner, err)
	}
	return all, nil
}

// repairAll puts back what attachments have lost, and then what they inherit.
func (s *Session) repairAll(needy []*repair, find finder) (all []*repair) {
	s.pending = map[hostport.Key]bool{}
	for _, r := range needy {
		x := *r
		all = append(all, &x)
		s.pending[x.Owner.Key()] = x.Unsure == ""
	}
	for _, r := range all {
		if r.Unsure == "" && len(r.lost) > 0 {
			r.refuse(s.planBack(r, find))
		}
		delete(s.pending, r.Owner.Key()) // its record has its ports now
	}
	s.putBack(all)
	for _, r := range all {
		if r.Unsure == "" && len(r.next.Left) > 0 && (r.Put || r.Refused == "") {
			r.refuse(s.inherit(r, find))
		}
	}
	return all
}

// A finder looks for conflicts of an attachment in a place, with what is wanted so far.
type finder func(a hostport.Attachment, where string) (conflict.Report, error)

// finder asks one reading of the node for many attachments.
func (s *Session) finder(snap conflict.Snapshot) finder {
	known := map[conflict.Place]*conflict.Finder{}
	return func(a hostport.Attachment, where string) (conflict.Report, error) {
		snap.Place = place.Order(where)
		if known[snap.Place] == nil {
			known[snap.Place] = conflict.NewFinder(snap)
		}
		return known[snap.Place].Among(s.Claimants(a.Mappings)).Find(a)
	}
}

// whole reports, at little cost, whether the attachment of a record has what it should.
func (s *Session) whole(rec *state.Record) bool {
	for i, b := range s.backends {
		if place.Has(b.Name(), rec.Backend) && !s.have[i].Whole(rec.Attachment) {
			return false
		}
	}
	return s.home(rec).Backend == rec.Backend
}

// needy are the attachments that have not what they should, the oldest first. Of the dead
// nothing is put back. Of whom nobody can tell whether they live only what is in place is
// moved.
func (s *Session) needy(exact bool) (out []*repair) {
	for _, key := range s.Store.Keys() {
		rec := s.Record(key)
		if rec == nil || slices.Contains(s.dropped, key) {
			continue
		}
		r := &repair{Restored: Restored{Owner: rec.Attachment.Owner}, now: rec.Attachment, next: *rec}
		if exact || !s.whole(rec) {
			r.lost = s.Lost(rec)
		}
		if len(r.lost) == 0 && !s.inherits(rec) {
			continue
		}
		switch life, why := s.Life(r.Owner, rec); life {
		case hostport.Dead:
			continue
		case hostport.Unknown:
			if moves := len(r.lost) > 0 && len(s.lacks(rec)) == 0; !moves {
				r.Unsure = why
			}
		case hostport.Alive:
		}
		out = append(out, r)
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i], out[j]
		return cmp.Or(a.next.Created.Compare(b.next.Created), cmp.Compare(a.Owner.String(), b.Owner.String()), cmp.Compare(a.Owner.IfName, b.Owner.IfName)) < 0
	})
	return out
}

// warnOfStrays says whose mappings stay where they may take the traffic of Services,
// because nobody knows where else they could be. Those in here are not looked at.
func (s *Session) warnOfStrays(here string) {
	if !s.Facts.IPVS {
		return
	}
	told := map[hostport.Key]bool{}
	for _, c := range s.Claims() {
		if c.Key == "" || c.Foreign || c.Backend == here || told[c.Key] {
			continue
		}
		told[c.Key] = true
		who := "an attachment without a record"
		if rec := s.Record(c.Key); rec != nil {
			life, _ := s.Life(rec.Attachment.Owner, rec)
			if _, err := place.Of(wish(rec), s.Facts); err == nil || life == hostport.Dead {
				continue
			}
			who = rec.Attachment.Owner.String()
		}
		s.warn(fmt.Sprintf("hostPorts of %s stay in %s, where they may take the traffic of Services of kube-proxy's ipvs mode; restart the pod", who, c.Backend))
	}
}
