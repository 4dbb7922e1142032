// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/portmap"
	"github.com/portguard/portguard/pkg/state"
)

// Del removes what the attachment owns. It needs nothing but the container ID and the
// interface name, and finds nothing to be a success. What cannot be read is an error only if
// something of the attachment may be there.
func (p *Plugin) Del(args *skel.CmdArgs) error {
	t, owner, store := teardown(args)
	if idle(t, owner, store) {
		return nil
	}
	return p.delete(t, owner, store)
}

// Idle reports whether a DEL has nothing to look for: that of a pod without hostPorts.
func Idle(args *skel.CmdArgs) bool { return idle(teardown(args)) }

func idle(t netconf.Teardown, owner hostport.Owner, store *state.Store) bool {
	return !t.HasPorts && !store.Has(owner.Key()) && !store.Begun(owner.Key()) && !store.Unknown()
}

func teardown(args *skel.CmdArgs) (netconf.Teardown, hostport.Owner, *state.Store) {
	t := netconf.ParseTeardown(args.StdinData)
	return t, netconf.OwnerOf(t.Name, args), state.Open(t.DataDir)
}

// delete is a DEL that has something to look for. It is apart from Del, whose stack frame
// would be so large that pods without hostPorts pay for it.
func (p *Plugin) delete(t netconf.Teardown, owner hostport.Owner, store *state.Store) error {
	unlock, err := p.lockToRemove(store, t.LockTimeout)
	if err != nil {
		return cniError(err, CodeApply)
	}
	defer unlock()
	s, err := p.Begin(store, t.LockTimeout, hostport.Attachment{Owner: owner})
	if err != nil && !store.Has(owner.Key()) && !store.Unknown() {
		p.warnOf(err, CodeUnreadable)
		return nil
	}
	if err == nil {
		s.loadWarned(netconf.DefaultCacheDir)
		// Perhaps it was added when the conflist named portmap.
		err = s.Remove([]hostport.Key{owner.Key()}, portmap.Keys(owner)...)
	}
	return cniError(err, CodeApply)
}

// lockToRemove takes the lock, unless there is none that anybody could hold.
func (p *Plugin) lockToRemove(store *state.Store, timeout time.Duration) (unlock func(), err error) {
	unlock, err = store.Lock(timeout)
	var dir *state.DirError
	if errors.As(err, &dir) && dir.Free {
		p.warnOf(err, CodeApply)
		return func() {}, nil
	}
	return unlock, err
}

// loadWarned is LoadSome for a change of what there is. It warns of what could not be read.
func (s *Session) loadWarned(cacheDir string) {
	o := BackendOptions{CacheDir: cacheDir, Records: s.Recorded}
	for _, key := range s.Store.Keys() { // what is put right belongs there
		if rec := s.Record(key); rec != nil {
			o.Into = s.home(rec).Backend
			break
		}
	}
	for _, err := range s.LoadSome(o) {
		s.warnOf(err, CodeUnreadable)
	}
}

// Remove takes away all that the attachments of those keys have: rules, UDP flows and
// records; and what is of the foreign keys. Those of which something may be where nobody
// could read stay, and are an error.
func (s *Session) Remove(keys []hostport.Key, foreign ...hostport.Key) error {
	return retry(func() error {
		err := s.remove(keys, foreign)
		if errors.As(err, new(raced)) {
			s.LoadSome(s.options)
		}
		return err
	})
}

func (s *Session) remove(keys, foreign []hostport.Key) error {
	var unread error
	gone := map[hostport.Key]hostport.Attachment{}
	keys = slices.DeleteFunc(slices.Clone(keys), func(key hostport.Key) bool {
		if err := s.blind(key); err != nil {
			unread = err
			return true
		}
		gone[key] = s.inPlace(key)
		return false
	})
	s.Drop(slices.Concat(keys, foreign)...)
	if err := s.withOthers(func() error { return s.Apply(nil) }); err != nil {
		return err
	}
	var left []flows
	for _, key := range keys {
		left = append(left, flows{of: gone[key], gone: true})
	}
	s.dropUDP(left...)
	for _, key := range keys {
		s.warnOf(s.Store.Delete(key), CodeApply) // the rules are gone, and so will be the namespace
		delete(s.records, key)
	}
	s.noteComplete(false)
	return unread
}

// inPlace is what is needed of an attachment to drop its UDP flows: from the rules,
// which are the truth, or from the record where they are gone.
func (s *Session) inPlace(key hostport.Key) hostport.Attachment {
	a, _ := s.Recover(key)
	rec := s.Record(key)
	if rec == nil {
		a.Localhost = true
		return a
	}
	a.Localhost, a.Excludes = rec.Attachment.Localhost, rec.Attachment.Excludes
	if len(a.Carves) == 0 {
		a.Carves = rec.Attachment.Carves
	}
	for _, f := range hostport.Families() { // gone, or with conditions
		if _, ok := a.Pod(f); ok && len(a.Of(f)) > 0 {
			continue
		}
		a.Mappings = append(slices.DeleteFunc(a.Mappings, func(m hostport.Mapping) bool { return m.Family == f }), rec.Attachment.Of(f)...)
		if pod, ok := rec.Attachment.Pod(f); ok {
			a.Pods = append(slices.DeleteFunc(a.Pods, func(p netip.Prefix) bool { return hostport.FamilyOf(p.Addr()) == f }), pod)
		}
	}
	return a
}

// noteComplete marks the state directory if no rules are without a record. Fresh is set
// when there were no rules before.
func (s *Session) noteComplete(fresh bool) {
	if !fresh && !s.Store.Unknown() || len(s.unread) > 0 {
		return
	}
	has := map[hostport.Key]bool{} // one pod may have thousands of claims
	for _, c := range s.Claims() {
		if c.Foreign || has[c.Key] {
			continue
		}
		if has[c.Key] = s.Store.Has(c.Key); !has[c.Key] {
			return
		}
	}
	s.warnOf(s.Store.MarkComplete(), CodeApply)
}
