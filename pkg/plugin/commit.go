// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
)

// commit writes the record, then the rules: a kill in between leaves a record without
// rules, which DEL removes; never the reverse. What deliver cannot deliver is undone.
// Then the records of the dead go, and those that are wrong or of attachments that moved
// are written.
func (s *Session) commit(rec state.Record, dead []hostport.Key, moved []state.Record, deliver func() error) error {
	key := rec.Attachment.Owner.Key()
	old := s.Record(key)
	if err := s.Store.Save(rec); err != nil {
		return cniError(err, types.ErrIOFailure)
	}
	if err := s.Apply(deliver); err != nil {
		switch {
		case errors.Is(err, backend.ErrNotUndone): // the record leads DEL to the rest
		case old != nil:
			_ = s.Store.Save(*old)
		default:
			_ = s.Store.Delete(key)
		}
		if a := rec.Attachment; len(a.ConditionsV4)+len(a.ConditionsV6) > 0 {
			err = advised{fmt.Errorf("%w; look at conditionsV4 %q and conditionsV6 %q", err, a.ConditionsV4, a.ConditionsV6)}
		}
		return err
	}
	s.save(slices.Concat(s.wrong, moved))
	for _, k := range dead {
		s.warnOf(s.Store.Delete(k), CodeApply)
	}
	return nil
}

// save writes the records of attachments that a call for something else has changed.
func (s *Session) save(recs []state.Record) {
	for _, r := range recs {
		s.warnOf(s.Store.Save(r), CodeApply)
	}
}

// move puts live attachments where they belong, if that is another place by now: when
// kube-proxy turns out to be in ipvs mode after they were added, they would take the
// traffic of Services in nftables. Attachments already in here are not looked at. It
// returns the records of those that move, as they should be.
func (s *Session) move(here string) []state.Record {
	var moved []state.Record
	others := s.elsewhere(here)
	for _, key := range slices.Sorted(maps.Keys(others)) {
		rec, at := s.Record(key), others[key]
		if rec != nil {
			if life, _ := s.Life(rec.Attachment.Owner, rec); life == hostport.Dead {
				continue
			}
		}
		choice := place.Choice{Backend: at}
		var err error
		if rec != nil {
			choice, err = place.Of(wish(rec), s.Facts)
		}
		switch {
		case s.Facts.IPVS && (rec == nil || err != nil):
			who := "an attachment without a record"
			if rec != nil {
				who = rec.Attachment.Owner.String()
			}
			s.warn(fmt.Sprintf("hostPorts of %s stay in %s, where they may take the traffic of Services of kube-proxy's ipvs mode; restart the pod", who, at))
		case err == nil && choice.Backend != at:
			next := *rec
			next.Backend = choice.Backend
			if err := s.relink(&next); err != nil {
				s.warn(told(err, CodeApply))
				continue
			}
			s.Put(next.Attachment, choice.Backend)
			moved = append(moved, next)
		}
	}
	return moved
}

// elsewhere are the attachments whose mappings are in other backends than here, with the
// name of that.
func (s *Session) elsewhere(here string) map[hostport.Key]string {
	out := map[hostport.Key]string{}
	for _, c := range s.Claims() {
		if c.Key != "" && !c.Foreign && c.Backend != here {
			out[c.Key] = c.Backend
		}
	}
	return out
}

// wish is what the configuration of a record's ADD asked for.
func wish(rec *state.Record) place.Wish {
	return place.Wish{Backend: rec.Wanted, Syntax: place.Syntax(rec.Attachment), Now: rec.Backend}
}
