// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"maps"
	"slices"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
)

// Load reads what all backends hold.
func (s *Session) Load(o BackendOptions) error {
	if unread := s.load(o, false); len(unread) > 0 {
		return unread[0]
	}
	return nil
}

// LoadSome is Load for commands that only look: what cannot be read is returned and
// treated as empty.
func (s *Session) LoadSome(o BackendOptions) (unread []error) { return s.load(o, true) }

// load reads the last backend first: route_localnet is applied before the mappings, but
// only they tell who needs it. Without some it ends at the first error.
func (s *Session) load(o BackendOptions, some bool) (unread []error) {
	s.options, s.unread, s.reach = o, backend.Unread{}, map[reachOf]reach{}
	o.On, o.Reach, o.Wait, o.Users, o.Known = s.On, s.within(), s.Wait, s.links, s.known
	o.Life = func(path string) (hostport.Life, string) { return s.sight.Life(state.Netns{Path: path}) }
	s.backends = s.Node.Backends(o)
	s.have = make([]backend.State, len(s.backends))
	for i, b := range slices.Backward(s.backends) {
		var err error
		if s.have[i], err = b.Load(); err == nil {
			continue
		}
		if unread = append(unread, err); !some {
			return unread
		}
		var part backend.Unread
		if !errors.As(err, &part) {
			s.have[i], s.backends[i], part = backend.Nothing{}, backend.Closed{Backend: b}, backend.Unread{b.Name(): err}
		}
		for name, err := range part {
			s.unread[name] = err
		}
	}
	s.want = slices.Clone(s.have)
	return unread
}

// read reads a record. A link that was renamed since took its sysctl and its guard along.
func (s *Session) read(key hostport.Key) (*state.Record, error) {
	rec, err := s.Store.Load(key)
	if err != nil || rec.LinkIndex == 0 || rec.BootID != s.boot {
		return rec, err
	}
	name, known := s.names[rec.LinkIndex]
	if !known {
		name, _ = s.Node.LinkName(rec.LinkIndex)
		s.names[rec.LinkIndex] = name
	}
	if name != "" {
		rec.Attachment.Link = name
	}
	return rec, nil
}

// blind says why what an attachment has could not be removed: what has it, or may have it,
// could not be read. Where all have records, one without has nothing.
func (s *Session) blind(key hostport.Key) error {
	rec := s.Record(key)
	may := rec == nil && s.Store.Has(key) || s.Store.Unknown()
	for _, name := range slices.Sorted(maps.Keys(s.unread)) {
		if may || rec != nil && place.Has(name, rec.Backend) {
			return s.unread[name]
		}
	}
	return nil
}

// looked is for how many attachments known asks whether they live. There may be many.
const looked = 4

// known reports whether an attachment has a record or something in a place that was read, or
// may have it where nobody could. The first few that are asked about must not be dead either:
// of those that others hold something for, these are other ones each time.
func (s *Session) known(key hostport.Key) bool {
	if len(s.unread) > 0 {
		return true
	}
	if s.Store.Has(key) {
		dead, asked := s.dead[key]
		if !asked && len(s.dead) < looked {
			if rec := s.Record(key); rec != nil {
				life, _ := s.Life(rec.Attachment.Owner, rec)
				dead = life == hostport.Dead
			}
			s.dead[key] = dead
		}
		return !dead
	}
	return slices.ContainsFunc(s.have, func(st backend.State) bool {
		if st == nil {
			return false
		}
		_, ok := st.Recover(key)
		return ok
	})
}

// links are the attachments that links with route_localnet lead to.
func (s *Session) links() map[string][]hostport.Key {
	out := map[string][]hostport.Key{}
	for _, st := range s.have {
		if l, ok := st.(linker); ok {
			for link, keys := range l.Links() {
				out[link] = append(out[link], keys...)
			}
		}
	}
	return out
}

// A linker is a State that holds mappings.
type linker interface {
	Links() map[string][]hostport.Key
}
