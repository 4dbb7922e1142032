// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"slices"
	"sort"
	"time"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
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
	recs, out := s.living()
	if len(recs) == 0 {
		return out, nil
	}
	s.loadWarned(c.CacheDir)
	var repairs []*repair
	err = retry(func() (err error) {
		if repairs, err = s.repair(); errors.As(err, new(raced)) {
			s.LoadSome(s.options)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.keep(repairs)
	for _, rec := range recs {
		out = append(out, Restored{Owner: rec.Attachment.Owner})
	}
	for _, r := range repairs {
		if i := slices.IndexFunc(out, func(o Restored) bool { return o.Owner == r.Owner }); i >= 0 {
			out[i] = r.Restored
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Owner.String() < out[j].Owner.String() })
	return out, nil
}

// repair puts all right that can be. When that fails it does so for one after the other:
// what fails for one is not lost for all.
func (s *Session) repair() ([]*repair, error) {
	s.renew()
	repairs, err := s.heal(true)
	if err == nil {
		err = s.Apply(nil)
	}
	if err != nil {
		s.letGo()
	}
	if err == nil || repairs == nil || errors.As(err, new(raced)) || errors.Is(err, backend.ErrNotUndone) {
		return repairs, err
	}
	s.apart(repairs, err, s.Now().Add(time.Hour)) // somebody asked for all of them
	return repairs, nil
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
