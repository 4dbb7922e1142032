// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
)

// A Session is one call: what the places of the kernel hold, and what they should.
type Session struct {
	*Plugin
	Store *state.Store
	On    *host.Addressing
	Facts place.Facts
	// Wait bounds what others may make us wait for.
	Wait time.Duration
	// PodLogs is the kubelet's podLogsDir, which tells the names of pods.
	PodLogs string
	// have is what each of the backends holds, want what it should.
	backends   []backend.Backend
	have, want []backend.State
	// options are those of Load, unread is what it could not read.
	options BackendOptions
	unread  backend.Unread
	records map[hostport.Key]*state.Record
	// dropped are the keys of attachments whose records say no more what should be.
	dropped []hostport.Key
	sight   *state.Sight
	boot    string
	// restores is set while records are put back: what has no rules is no claim then.
	restores bool
}

// Begin looks at the node's addresses, which decide where attachments belong.
func (p *Plugin) Begin(store *state.Store, wait time.Duration) (*Session, error) {
	on, err := p.Node.Addresses()
	if err != nil {
		return nil, err
	}
	facts, err := p.Node.Facts(on)
	return &Session{Plugin: p, Store: store, On: on, Facts: facts, Wait: wait, records: map[hostport.Key]*state.Record{}, sight: p.Node.Sight(), boot: p.Node.BootID()}, err
}

// Choose says where an attachment belongs.
func (s *Session) Choose(w place.Wish) (place.Choice, error) {
	choice, err := place.Of(w, s.Facts)
	if err == nil {
		s.debug("backend %s: %s", choice.Backend, choice.Why)
	}
	return choice, err
}

// Recorded are all attachments that have a record.
func (s *Session) Recorded() []hostport.Attachment {
	var out []hostport.Attachment
	for _, key := range s.Store.Keys() {
		if rec := s.Record(key); rec != nil {
			out = append(out, rec.Attachment)
		}
	}
	return out
}

// Put makes the attachment have what it needs where it belongs, and nothing anywhere
// else, instead of what the attachments of those keys have. Every verb that changes
// something states the wanted outcome through Put and Drop.
func (s *Session) Put(a hostport.Attachment, where string, instead ...hostport.Key) {
	for i, b := range s.backends {
		if place.Has(b.Name(), where) {
			s.want[i] = s.want[i].With(a, instead...)
		} else {
			s.want[i] = s.want[i].Without(append(slices.Clone(instead), a.Owner.Key())...)
		}
	}
}

// Drop makes the attachments of those keys have nothing.
func (s *Session) Drop(keys ...hostport.Key) {
	s.dropped = append(s.dropped, keys...)
	for i := range s.want {
		s.want[i] = s.want[i].Without(keys...)
	}
}

// Missing lists what an attachment in the backend where lacks.
func (s *Session) Missing(a hostport.Attachment, where string) []string {
	var out []string
	for i, b := range s.backends {
		if place.Has(b.Name(), where) {
			out = append(out, s.have[i].Missing(a)...)
		}
	}
	return out
}

// Apply brings every backend to what is wanted, and then does last, if there is any. When
// something fails, what was done before is brought back.
func (s *Session) Apply(last func() error) error {
	for i, b := range s.backends {
		if err := b.Apply(s.have[i], s.want[i]); err != nil {
			return raceOr(errors.Join(err, s.undo(i)))
		}
	}
	if last != nil {
		if err := last(); err != nil {
			return errors.Join(err, s.undo(len(s.backends)))
		}
	}
	s.have = slices.Clone(s.want)
	return nil
}

// undo brings the first n backends back to what they were, the last one first.
func (s *Session) undo(n int) error {
	var all error
	for i := n - 1; i >= 0; i-- {
		err := s.backends[i].Apply(s.want[i], s.former(i))
		if err != nil && !errors.Is(err, backend.ErrNotUndone) {
			err = fmt.Errorf("%w: %s: %w", backend.ErrNotUndone, s.backends[i].Name(), err)
		}
		all = errors.Join(all, err)
	}
	return all
}

// former is what a backend held, so that it can be made again: the words of conditions,
// which the kernel does not tell, are those of the records.
func (s *Session) former(i int) backend.State {
	st := s.have[i]
	for _, rec := range s.records {
		if rec == nil || place.Syntax(rec.Attachment) == "" || s.backends[i].Name() != rec.Backend {
			continue
		}
		if len(st.Missing(rec.Attachment)) == 0 {
			st = st.With(rec.Attachment)
		}
	}
	return st
}

// EachState calls f with each backend and what it holds.
func (s *Session) EachState(f func(b backend.Backend, st backend.State)) {
	for i, b := range s.backends {
		f(b, s.have[i])
	}
}

// Claims are the mappings of all backends, as they should be.
func (s *Session) Claims() []hostport.Claim {
	var out []hostport.Claim
	for _, st := range s.want {
		out = append(out, st.Claims()...)
	}
	return out
}

// Record returns the record for a key, nil if there is none that can be read.
func (s *Session) Record(key hostport.Key) *state.Record {
	rec, known := s.records[key]
	if !known {
		rec, _ = s.Store.Load(key)
		s.records[key] = rec
	}
	return rec
}

// Recover rebuilds an attachment from what the kernel tells of it.
func (s *Session) Recover(key hostport.Key) (a hostport.Attachment, ok bool) {
	for _, st := range s.want {
		part, some := st.Recover(key)
		if !some {
			continue
		}
		if !ok {
			a, ok = part, true
			continue
		}
		join(&a, part)
	}
	return a, ok
}

// join completes what one place tells of an attachment with what another one does.
func join(a *hostport.Attachment, part hostport.Attachment) {
	if a.Owner == (hostport.Owner{}) {
		a.Owner = part.Owner
	}
	if part.Link != "" {
		a.Link, a.Localhost = part.Link, part.Localhost
	}
	a.LocalnetWas = a.LocalnetWas || part.LocalnetWas // only the guard knows
	for _, m := range part.Mappings {
		if !slices.Contains(a.Mappings, m) {
			a.Mappings = append(a.Mappings, m)
		}
	}
	for _, p := range part.Pods {
		if _, has := a.Pod(hostport.FamilyOf(p.Addr())); !has {
			a.Pods = append(a.Pods, p)
		}
	}
	a.Carves, a.Excludes = append(a.Carves, part.Carves...), append(a.Excludes, part.Excludes...)
	if len(a.Networks) == 0 {
		a.Networks = part.Networks
	}
}

// holder is the name of the backend that holds mappings of the attachment, "" if none
// does.
func (s *Session) holder(key hostport.Key) string {
	for i, b := range s.backends {
		if _, ok := s.have[i].Recover(key); ok && slices.Contains(place.Mappers(), b.Name()) {
			return b.Name()
		}
	}
	return ""
}

// Claimants are the claims that overlap some of ms, completed with what their records
// tell: the pod's name, and whether the owner lives. Without a record the comment
// tells the namespace. No record is read for a claim that does not overlap.
func (s *Session) Claimants(ms []hostport.Mapping) []hostport.Claim {
	var out []hostport.Claim
	all := s.Claims()
	for _, c := range append(all, s.lost(ms, all)...) {
		if !slices.ContainsFunc(ms, c.Mapping.Overlaps) {
			continue
		}
		if !c.Foreign {
			s.complete(&c)
		}
		out = append(out, c)
	}
	return out
}

// lost are the mappings of attachments that have a record and no rules in a family of ms.
// Records of others are not read: there may be many.
func (s *Session) lost(ms []hostport.Mapping, claims []hostport.Claim) (out []hostport.Claim) {
	type place struct {
		key hostport.Key
		f   hostport.Family
	}
	has := map[place]bool{}
	for _, c := range claims {
		has[place{c.Key, c.Mapping.Family}] = true
	}
	for _, key := range s.Store.Keys() {
		for _, f := range hostport.Families() {
			asked := slices.ContainsFunc(ms, func(m hostport.Mapping) bool { return m.Family == f })
			if s.restores || !asked || has[place{key, f}] || slices.Contains(s.dropped, key) {
				continue
			}
			if rec := s.Record(key); rec != nil {
				for _, m := range rec.Attachment.Of(f) {
					out = append(out, hostport.Claim{Owner: rec.Attachment.Owner, Key: key, Backend: rec.Backend, Mapping: m, Lost: true, Target: rec.Attachment.Target(m)})
				}
			}
		}
	}
	return out
}

func (s *Session) complete(c *hostport.Claim) {
	var a hostport.Attachment
	rec := s.Record(c.Key)
	if rec != nil {
		a = rec.Attachment
		c.Owner, c.Part = a.Owner, a.Restricted(c.Mapping.Family)
	} else {
		a, _ = s.Recover(c.Key)
	}
	if c.Key != "" {
		c.Life, c.Unsure = s.Life(c.Owner, rec)
	}
	local := slices.Clone(s.On.Local)
	if !c.SparesServices { // only those that its attachment knew
		for i := range local {
			local[i].Infrastructure = ""
		}
	}
	c.Dst = a.Destinations(local, c.Mapping)
}

// Life says whether an owner lives, and if nobody can tell why not. Rules without a record
// are of this boot and tell the inode of the network namespace.
func (s *Session) Life(o hostport.Owner, rec *state.Record) (hostport.Life, string) {
	if rec == nil {
		return s.sight.Life(state.Netns{Inode: o.Netns})
	}
	if rec.BootID != "" && s.boot != "" && rec.BootID != s.boot {
		return hostport.Dead, ""
	}
	return s.sight.Life(rec.Netns)
}

// Owns reports whether a chain belongs to one of the backends.
func (s *Session) Owns(t nft.Table, chain string) bool {
	return slices.ContainsFunc(s.backends, func(b backend.Backend) bool { return b.Owns(t, chain) })
}

// Look calls f with what the node is like, for mappings that would stand in that order
// among others' rules.
func (s *Session) Look(ms []hostport.Mapping, order conflict.Place, f func(conflict.Snapshot) error) error {
	claims := s.Claimants(ms)
	return s.Node.Look(s.Wait, s.PodLogs, s.On, ms, func(snap conflict.Snapshot) error {
		snap.Claims, snap.Place, snap.Owns = claims, order, s.Owns
		return f(snap)
	})
}

// Find looks for conflicts of an attachment.
func (s *Session) Find(a hostport.Attachment, order conflict.Place) (r conflict.Report, err error) {
	err = s.Look(a.Mappings, order, func(snap conflict.Snapshot) (err error) {
		r, err = conflict.Find(a, snap)
		return err
	})
	return r, err
}
