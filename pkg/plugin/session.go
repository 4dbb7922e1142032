// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/containernetworking/plugins/pkg/ns"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/walk"
)

// A Session is one call: what the places of the kernel hold, and what they should.
type Session struct {
	*Plugin
	Store *state.Store
	On    *host.Addressing
	Facts place.Facts
	// Wait bounds what others may make us wait for, and for how long a decision may make
	// others wait.
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
	// byPort are the keys of records by their ports, once somebody has asked for them.
	byPort map[uint16][]hostport.Key
	// dead says of attachments whether they are, as far as known was asked.
	dead map[hostport.Key]bool
	// names are those of links by their index, as far as they were asked for.
	names map[int]string
	// podLinks are those to pods, as far as they were asked for.
	podLinks map[netip.Addr]walk.Link
	// wrong are records that say that route_localnet was on where it was off later.
	wrong []state.Record
	// reach is where backends let mappings be, as far as it was asked for.
	reach map[reachOf]reach
	// dropped are the keys of attachments whose records say no more what should be.
	dropped []hostport.Key
	sight   *state.Sight
	boot    string
	// pending are records that are about to be put back: what they lack is no claim then.
	pending map[hostport.Key]bool
	// unhold releases what heal holds.
	unhold func()
	// homes are where attachments belong, as far as it was asked.
	homes map[place.Wish]place.Choice
}

// Begin looks at the node's addresses, which decide where attachments belong. What the
// record of self excludes does not count, if there is one.
func (p *Plugin) Begin(store *state.Store, wait time.Duration, self hostport.Attachment) (*Session, error) {
	s := &Session{Plugin: p, Store: store, Wait: wait, records: map[hostport.Key]*state.Record{}, dead: map[hostport.Key]bool{}, names: map[int]string{}, podLinks: map[netip.Addr]walk.Link{}, homes: map[place.Wish]place.Choice{}, sight: p.Node.Sight(), boot: p.Node.BootID()}
	var err error
	if s.On, err = p.Node.Addresses(s.excluded(self)); err != nil {
		return nil, err
	}
	if s.Facts, err = p.Node.Facts(s.On); err != nil {
		return nil, err
	}
	// They are asked for many attachments.
	s.Facts.NFTables, s.Facts.Iptables = sync.OnceValues(s.Facts.NFTables), sync.OnceValues(s.Facts.Iptables)
	return s, nil
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
	s.PutAll([]putting{{a, where, instead}})
}

// PutAll is Put for many, in the time that it takes for one.
func (s *Session) PutAll(all []putting) {
	for i, b := range s.backends {
		var here []hostport.Attachment
		var gone []hostport.Key
		for _, p := range all {
			if gone = append(gone, p.instead...); place.Has(b.Name(), p.where) {
				here = append(here, p.a)
			} else {
				gone = append(gone, p.a.Owner.Key())
			}
		}
		s.want[i] = s.want[i].WithAll(here, gone...)
	}
}

// putting is what is put, where, and instead of whom.
type putting struct {
	a       hostport.Attachment
	where   string
	instead []hostport.Key
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
	return missing(s.backends, s.have, where, a)
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
	s.leave()
	s.have = slices.Clone(s.want)
	if len(s.unread) == 0 { // what killed calls have left went with it
		s.warnOf(s.Store.Tidy(), CodeApply)
	}
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

// Record returns the record for a key, nil if there is none that can be read.
func (s *Session) Record(key hostport.Key) *state.Record {
	rec, known := s.records[key]
	if !known {
		rec, _ = s.read(key)
		s.records[key] = rec
	}
	return rec
}

// Life says whether an owner lives, and if nobody can tell why not. Rules without a record
// are of this boot and tell the inode of the network namespace.
func (s *Session) Life(o hostport.Owner, rec *state.Record) (hostport.Life, string) {
	if rec == nil {
		return s.sight.Life(state.Netns{Inode: o.Netns})
	}
	if rec.BootID != "" && s.boot != "" && rec.BootID != s.boot {
		return s.sight.LifeBefore(rec.Netns)
	}
	return s.sight.Life(rec.Netns)
}

// Home is where an attachment is: what has no record, or is of another boot, is not known.
func (s *Session) Home(key hostport.Key) host.Home {
	rec := s.Record(key)
	if rec == nil || rec.BootID != "" && s.boot != "" && rec.BootID != s.boot {
		return host.Home{}
	}
	a := rec.Attachment
	return host.Home{Path: rec.Netns.Path, IfName: a.Owner.IfName, Link: a.Link, MasqAll: a.MasqAll,
		Open: func() ns.NetNS { return s.sight.Open(rec.Netns) }, Same: rec.Netns.Same}
}

// Owns reports whether a chain belongs to one of the backends.
func (s *Session) Owns(t nft.Table, chain string) bool {
	return slices.ContainsFunc(s.backends, func(b backend.Backend) bool { return b.Owns(t, chain) })
}

// Look calls f with what the node is like, for mappings that would stand in that order
// among others' rules. What takes so long that others, who wait for the lock, give up, ends.
func (s *Session) Look(ms []hostport.Mapping, order conflict.Place, f func(conflict.Snapshot) error) error {
	claims := s.Claimants(ms)
	return s.Node.Look(s.Wait, s.PodLogs, s.On, ms, func(snap conflict.Snapshot) error {
		began := s.Now()
		snap.Claims, snap.Place, snap.Owns, snap.LinkTo = claims, order, s.Owns, s.LinkTo
		snap.Late = func() bool { return s.Now().Sub(began) > s.Wait }
		snap.Reserved = s.othersReserve(snap.Reserved)
		return f(snap)
	})
}

// LinkTo is that of the node, asked once for each pod: it may have thousands of ports.
func (s *Session) LinkTo(pod netip.Addr) (walk.Link, error) {
	l, known := s.podLinks[pod]
	if known {
		return l, nil
	}
	l, err := s.Node.LinkTo(pod)
	if err == nil {
		s.podLinks[pod] = l
	}
	return l, err
}

// othersReserve are ports of ip_local_reserved_ports without those that are there only
// because they are held: that somebody has one says nothing about how it got it.
func (s *Session) othersReserve(all [][2]uint16) [][2]uint16 {
	var held []uint16
	for _, st := range s.have {
		if l, ok := st.(interface{ Listed() []uint16 }); ok {
			held = append(held, l.Listed()...)
		}
	}
	return host.Less(all, held)
}

// Find looks for conflicts of an attachment.
func (s *Session) Find(a hostport.Attachment, order conflict.Place) (r conflict.Report, err error) {
	err = s.Look(a.Mappings, order, func(snap conflict.Snapshot) (err error) {
		r, err = conflict.Find(a, snap)
		return err
	})
	return r, err
}
