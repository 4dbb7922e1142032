// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/state"
)

// A Swept is what a dead owner had.
type Swept struct {
	By    string // "portguard" or "portmap"
	Owner hostport.Owner
	// Mappings are those that are in place still.
	Mappings []hostport.Mapping
	// Killed is set for the ports that an ADD held when it was killed: whose is not known.
	Killed bool
	// Unsure is why nobody can tell whether the owner is dead; nothing of it is removed.
	Unsure string
}

// Said says why an owner is left.
func (x Swept) Said() string { return unsure(x.Owner, x.Unsure) }

// unsure says of whom nobody can tell whether it lives, and why.
func unsure(o hostport.Owner, why string) string {
	return fmt.Sprintf("%s: nobody can tell from here whether it lives: %s; ask as root where the container runtime runs", o, why)
}

// Sweep removes what dead owners have left: rules, UDP flows and records, also those of
// other plugins; and what ADDs held that were killed. Dry only lists it.
func (p *Plugin) Sweep(dataDir, cacheDir string, lockTimeout time.Duration, dry bool) ([]Swept, error) {
	store := state.Open(dataDir)
	if !dry || store.Locked() { // an ADD that goes on holds its ports before it has its record
		unlock, err := store.Lock(lockTimeout)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	s, err := p.Begin(store, lockTimeout, hostport.Attachment{})
	if err != nil {
		return nil, err
	}
	s.loadWarned(cacheDir)
	swept, keys, foreign := s.leftovers()
	for _, ms := range s.Forsaken() {
		swept = append(swept, Swept{By: "portguard", Mappings: ms, Killed: true})
	}
	if dry {
		return swept, nil
	}
	return swept, s.Remove(keys, foreign...)
}

// leftovers lists what the dead have, and what those have of whom nobody can tell: of
// portguard and of other plugins, with the keys of the dead.
func (s *Session) leftovers() (out []Swept, keys, foreign []hostport.Key) {
	all, damaged := s.Attachments()
	for _, err := range damaged {
		s.warn(err.Error()) // theirs stays
	}
	for key, a := range all {
		life, why := s.Life(a.Owner, s.Record(key))
		if life == hostport.Alive {
			continue
		}
		x := Swept{By: "portguard", Owner: a.Owner, Unsure: why}
		for _, c := range s.Claims() {
			if c.Key == key {
				x.Mappings = append(x.Mappings, c.Mapping)
			}
		}
		if out = append(out, x); life == hostport.Dead {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, c := range s.Claims() {
		if !c.Foreign || c.Life == hostport.Alive {
			continue
		}
		n := slices.IndexFunc(out, func(x Swept) bool { return x.By == c.Backend && x.Owner == c.Owner })
		if n < 0 {
			out = append(out, Swept{By: c.Backend, Owner: c.Owner, Unsure: c.Unsure})
			if n = len(out) - 1; c.Life == hostport.Dead {
				foreign = append(foreign, c.Key)
			}
		}
		out[n].Mappings = append(out[n].Mappings, c.Mapping)
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i], out[j]
		return cmp.Or(cmp.Compare(a.By, b.By), cmp.Compare(a.Owner.String(), b.Owner.String())) < 0
	})
	return out, keys, foreign
}

// Attachments are all that have a record or claims, by key. Of a record that cannot be
// read nothing is known but its rules.
func (s *Session) Attachments() (out map[hostport.Key]hostport.Attachment, damaged []error) {
	out = map[hostport.Key]hostport.Attachment{}
	for _, key := range s.Store.Keys() {
		rec, err := s.read(key)
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		s.records[key], out[key] = rec, rec.Attachment
	}
	for _, c := range s.Claims() {
		if _, known := out[c.Key]; !known && c.Key != "" && !c.Foreign {
			a, _ := s.Recover(c.Key)
			a.Owner = c.Owner
			out[c.Key] = a
		}
	}
	return out, damaged
}
