// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"slices"
	"sort"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
)

// A Restored is what became of one attachment.
type Restored struct {
	Owner hostport.Owner
	// Put is set if its rules were put back, otherwise nothing was missing.
	Put bool
	// Refused is why they were not.
	Refused string
	// Unsure is why nobody can tell whether it lives; nothing is done for it then.
	Unsure string
}

// Restore puts the rules of every live attachment back where they belong, after somebody
// flushed them. One whose port was taken meanwhile is refused by name. Only what has a
// record can be restored.
func (p *Plugin) Restore(c *netconf.Config) ([]Restored, error) {
	store := state.Open(c.DataDir)
	unlock, err := store.Lock(c.LockTimeout)
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := p.Begin(store, c.LockTimeout, hostport.Attachment{})
	if err != nil {
		return nil, err
	}
	s.PodLogs = c.PodLogsDir
	s.restores = true
	recs, out := s.living()
	if len(recs) == 0 {
		return out, nil
	}
	s.loadWarned(BackendOptions{Into: s.belongs(recs[0]), CacheDir: c.CacheDir, Records: s.Recorded})
	s.renew()
	var changed []state.Record
	for _, rec := range recs {
		r, next, err := s.putBack(rec)
		if err != nil {
			return nil, err
		}
		if out = append(out, r); r.Put {
			changed = append(changed, next)
		}
	}
	heirs := s.inherit()
	for _, next := range heirs {
		out = slices.DeleteFunc(out, func(r Restored) bool { return r.Owner == next.Attachment.Owner })
		out = append(out, Restored{Owner: next.Attachment.Owner, Put: true})
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Owner.String() < out[j].Owner.String() })
	if err := s.Apply(nil); err != nil {
		return nil, err
	}
	s.save(changed)
	s.keep(heirs)
	return out, nil
}

// living are the records of attachments whose network namespace is there, in a fixed
// order, and those of which nobody can tell.
func (s *Session) living() (out []*state.Record, unsure []Restored) {
	keys := s.Store.Keys()
	slices.Sort(keys)
	for _, key := range keys {
		rec, err := s.read(key)
		if err != nil {
			s.warn(err.Error())
			continue
		}
		a := rec.Attachment
		if s.records[key] = rec; len(a.Mappings)+len(rec.Left) == 0 {
			continue
		}
		switch life, why := s.Life(a.Owner, rec); life {
		case hostport.Alive:
			out = append(out, rec)
		case hostport.Unknown:
			unsure = append(unsure, Restored{Owner: a.Owner, Unsure: why})
		case hostport.Dead:
		}
	}
	return out, unsure
}

// putBack makes an attachment have what it lacks, where it belongs by now, unless
// somebody else has it. What another interface of its container has by now stays there.
func (s *Session) putBack(rec *state.Record) (r Restored, next state.Record, err error) {
	next = *rec
	a := &next.Attachment
	r, next.Backend = Restored{Owner: a.Owner}, s.belongs(rec)
	if err := s.relink(&next); err != nil {
		return r, next, err
	}
	if next.Backend == rec.Backend && s.unread[next.Backend] == nil && len(s.Missing(*a, next.Backend)) == 0 {
		return r, next, nil
	}
	if err := s.unread.Or(); err != nil { // what cannot be read is not free
		r.Refused = err.Error()
		return r, next, nil
	}
	kept, left := leaveToOwners(a.Mappings, ofContainer(a.Owner.ContainerID, s.Claimants(a.Mappings)), a.Owner.Key(), next.Backend)
	a.Mappings, next.Left = kept, slices.Concat(rec.Left, left)
	report, err := s.Find(*a, place.Order(next.Backend))
	if err != nil {
		return r, next, err
	}
	if len(report.Conflicts) > 0 {
		r.Refused = report.Conflicts[0].Message
		return r, next, nil
	}
	r.Put, a.Flows = true, report.Flows
	s.Put(*a, next.Backend, report.TakeOver...)
	if known, ok := s.Recover(a.Owner.Key()); ok { // portguard may switch on what was on before
		a.LocalnetWas = known.LocalnetWas
	}
	return r, next, nil
}

// belongs is where an attachment should be by now: where it is, if the node cannot have it
// anywhere.
func (s *Session) belongs(rec *state.Record) string {
	if choice, err := place.Of(wish(rec), s.Facts); err == nil {
		return choice.Backend
	}
	return rec.Backend
}

// Result is what became of it in a word.
func (r Restored) Result() string {
	switch {
	case r.Refused != "":
		return "refused"
	case r.Unsure != "":
		return "left"
	case r.Put:
		return "restored"
	}
	return "ok"
}

// String says what became of it, and why.
func (r Restored) String() string {
	said := r.Owner.String()
	switch {
	case r.Refused != "":
		said += ": " + r.Refused
	case r.Unsure != "":
		said = unsure(r.Owner, r.Unsure)
	}
	return r.Result() + " " + said
}
