// SPDX-License-Identifier: Apache-2.0

package localnet

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// Name is the backend's.
const Name = "localnet"

// A Backend keeps route_localnet of links.
type Backend struct {
	sys    Sysctls
	guards []Guard
	// Users, if set, are the attachments whose mappings need a link, by its name.
	Users func() map[string][]hostport.Key
	// Records, if set, are the attachments that records tell of.
	Records func() []hostport.Attachment
}

var _ backend.Backend = (*Backend)(nil)

// New returns the backend of the sysctls sys. What needs one is guarded by into; all
// are the guards in which something may be. Into is the first that is changed: a link
// whose guard becomes another one has one all the time.
func New(sys Sysctls, into Guard, all ...Guard) *Backend {
	all = slices.DeleteFunc(slices.Clone(all), func(g Guard) bool { return g.Name() == into.Name() })
	return &Backend{sys: sys, guards: append([]Guard{into}, all...)}
}

// Name implements backend.Backend.
func (b *Backend) Name() string { return Name }

// Owns implements backend.Backend. The chains of the guards are those of the backends
// that they are written with.
func (b *Backend) Owns(nft.Table, string) bool { return false }

// Load implements backend.Backend.
func (b *Backend) Load() (backend.State, error) {
	s := State{into: b.guards[0].Name(), unread: backend.Unread{}, guards: map[string]map[string]Link{}, users: map[string]map[hostport.Key]bool{}, was: map[string]bool{}, on: map[string]bool{}}
	for _, g := range b.guards {
		links, err := g.Load()
		if err != nil {
			s.unread[g.Name()] = err
		}
		s.guards[g.Name()] = map[string]Link{}
		for name, l := range links {
			s.guards[g.Name()][name] = l
			s.was[name] = false
		}
	}
	b.ask(s)
	for name := range s.links() {
		on, err := b.sys.RouteLocalnet(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if s.on[name] = on; !on {
			s.was[name] = false
		}
	}
	return s, s.unread.Or()
}

// ask adds what mappings and records tell.
func (b *Backend) ask(s State) {
	if b.Users != nil {
		for link, keys := range b.Users() {
			for _, k := range keys {
				s.use(link, k)
			}
		}
	}
	if b.Records == nil {
		return
	}
	for _, a := range b.Records() {
		if !needs(a) {
			continue
		}
		was, known := s.was[a.Link]
		s.was[a.Link] = a.LocalnetWas && (was || !known)
		s.use(a.Link, a.Owner.Key())
	}
}

// Apply implements backend.Backend.
func (b *Backend) Apply(have, want backend.State) error {
	h, w := have.(State), want.(State)
	var undo []func() error
	err := b.switchOff(h, w, &undo)
	if err == nil {
		err = b.applyGuards(h, w, &undo)
	}
	if err == nil {
		err = b.switchOn(h, w, &undo)
	}
	if err == nil {
		return nil
	}
	for _, back := range slices.Backward(undo) {
		if undoErr := back(); undoErr != nil {
			err = errors.Join(err, fmt.Errorf("%w: %w", backend.ErrNotUndone, undoErr))
		}
	}
	return err
}

// Try implements backend.Backend. The guard is not tried: who may make mappings may make
// it.
func (b *Backend) Try(have, want backend.State) error {
	for _, link := range goesOn(have.(State), want.(State)) {
		if err := b.sys.MaySet(link); err != nil {
			return err
		}
	}
	return nil
}

// goesOn are the links on which it is to be switched on.
func goesOn(h, w State) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(w.on)), func(link string) bool { return !w.on[link] || h.on[link] })
}

// switchOff switches route_localnet off where portguard switched it on and nobody needs
// it any more: links that were used, or that only want has been told of.
func (b *Backend) switchOff(h, w State, undo *[]func() error) error {
	before, after := h.links(), w.links()
	was := maps.Clone(h.was) // on the way back, w need not know what came
	maps.Copy(was, w.was)
	for _, link := range slices.Sorted(maps.Keys(was)) {
		_, known := h.was[link]
		if goes := !after[link] && (before[link] || !known); !goes || was[link] {
			continue
		}
		if err := b.set(link, false, undo); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// applyGuards changes guards. What is left of one that somebody emptied goes with the
// link that it should have guarded.
func (b *Backend) applyGuards(h, w State, undo *[]func() error) error {
	emptied := h.unguarded(w)
	for _, g := range b.guards {
		from, to := h.guards[g.Name()], w.guards[g.Name()]
		if equal(from, to) && (!emptied || len(to) > 0 || h.unread[g.Name()] != nil) {
			continue
		}
		if err := g.Apply(from, to); err != nil {
			return err
		}
		*undo = append(*undo, func() error { return g.Apply(to, from) })
	}
	return nil
}

// switchOn switches it on where somebody needs it.
func (b *Backend) switchOn(h, w State, undo *[]func() error) error {
	for _, link := range goesOn(h, w) {
		if err := b.set(link, true, undo); err != nil {
			return err
		}
	}
	return nil
}

// set switches it, unless it is so.
func (b *Backend) set(link string, on bool, undo *[]func() error) error {
	is, err := b.sys.RouteLocalnet(link)
	if err != nil || is == on {
		return err
	}
	if err := b.sys.SetRouteLocalnet(link, on); err != nil {
		return err
	}
	*undo = append(*undo, func() error {
		if err := b.sys.SetRouteLocalnet(link, is); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil // with the link its sysctl is gone
	})
	return nil
}
