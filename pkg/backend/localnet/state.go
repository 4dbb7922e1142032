// SPDX-License-Identifier: Apache-2.0

package localnet

import (
	"fmt"
	"maps"
	"slices"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
)

// A State is what is known of links, or should be.
type State struct {
	// into is the guard that With uses.
	into string
	// guards are the links of each guard by its name.
	guards map[string]map[string]Link
	// unread are the guards that could not be read.
	unread backend.Unread
	// users are the attachments that need a link, as far as they are known.
	users map[string]map[hostport.Key]bool
	// was is the old route_localnet of links of which it is known, also of those that went
	// since Load. What is guarded, or off, was off.
	was map[string]bool
	// on are the links with route_localnet.
	on map[string]bool
}

var _ backend.State = State{}

// Claims implements backend.State: the sysctl leads nowhere.
func (s State) Claims() []hostport.Claim { return nil }

// With implements backend.State. It is Without for an attachment that does not need
// localhost. What the link was, the state knows better than the attachment. A link that was
// on stays as open as it was: it has no guard.
func (s State) With(a hostport.Attachment, instead ...hostport.Key) backend.State {
	return s.WithAll([]hostport.Attachment{a}, instead...)
}

// WithAll implements backend.State.
func (s State) WithAll(as []hostport.Attachment, instead ...hostport.Key) backend.State {
	d := s.without(slices.Concat(instead, hostport.Keys(as)))
	for _, a := range as {
		if !needs(a) {
			continue
		}
		d.was[a.Link] = d.before(a)
		for _, links := range d.guards {
			delete(links, a.Link)
		}
		if !d.was[a.Link] {
			d.guards[d.into][a.Link] = Link{}
		}
		d.use(a.Link, a.Owner.Key())
		d.on[a.Link] = true
	}
	return d.finish(s)
}

// needs reports whether a needs route_localnet of its link.
func needs(a hostport.Attachment) bool {
	_, ok := a.Pod(hostport.IPv4)
	return ok && a.Localhost && a.Link != ""
}

// use notes a user.
func (s State) use(link string, key hostport.Key) {
	if s.users[link] == nil {
		s.users[link] = map[hostport.Key]bool{}
	}
	s.users[link][key] = true
}

// Without implements backend.State.
func (s State) Without(keys ...hostport.Key) backend.State { return s.without(keys).finish(s) }

// without is a copy without users.
func (s State) without(keys []hostport.Key) State {
	d := State{into: s.into, unread: s.unread, guards: map[string]map[string]Link{}, users: map[string]map[hostport.Key]bool{}, was: maps.Clone(s.was), on: maps.Clone(s.on)}
	for name, links := range s.guards {
		d.guards[name] = maps.Clone(links)
	}
	for link, users := range s.users {
		d.users[link] = maps.Clone(users)
		for _, k := range keys {
			delete(d.users[link], k)
		}
	}
	return d
}

// finish takes away the guards of links that lost their last user since before.
func (s State) finish(before State) State {
	for link := range before.users {
		if len(s.users[link]) > 0 {
			continue
		}
		delete(s.users, link)
		delete(s.on, link)
		for _, links := range s.guards {
			delete(links, link)
		}
	}
	return s
}

// links are those that are guarded, or that somebody uses.
func (s State) links() map[string]bool {
	out := map[string]bool{}
	for name := range s.users {
		out[name] = true
	}
	for _, links := range s.guards {
		for name := range links {
			out[name] = true
		}
	}
	return out
}

// unguarded reports whether want drops a link that has no guard.
func (s State) unguarded(want State) bool {
	after := want.links()
	for link := range s.users {
		has := func(links map[string]Link) bool { _, ok := links[link]; return ok }
		if !after[link] && !s.was[link] && !slices.ContainsFunc(slices.Collect(maps.Values(s.guards)), has) {
			return true
		}
	}
	return false
}

// before is what the link of a was, as far as the state or a tells.
func (s State) before(a hostport.Attachment) bool {
	was, known := s.was[a.Link]
	return was || !known && a.LocalnetWas
}

// Missing implements backend.State.
func (s State) Missing(a hostport.Attachment) []string {
	if !needs(a) {
		return nil
	}
	var lost []string
	guarded := false
	for _, name := range slices.Sorted(maps.Keys(s.guards)) {
		if l, ok := s.guards[name][a.Link]; ok {
			guarded, lost = true, append(lost, l.Broken...)
		}
	}
	switch on, known := s.on[a.Link]; {
	case known && !on:
		lost = append(lost, fmt.Sprintf("route_localnet of %s is off, so localhost does not reach the pod", a.Link))
	case !guarded && !s.before(a):
		lost = append(lost, fmt.Sprintf("the guard that keeps others from 127.0.0.0/8 over %s is missing", a.Link))
	}
	return lost
}

// Whole implements backend.State.
func (s State) Whole(a hostport.Attachment) bool { return len(s.Missing(a)) == 0 }

// Misplaced lists, in words, what of the guards is not as it must be.
func (s State) Misplaced() []string {
	var out []string
	for _, links := range s.guards {
		for _, l := range links {
			out = append(out, l.Broken...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// WasOn reports whether route_localnet of the link of an attachment was on before portguard.
func (s State) WasOn(key hostport.Key) bool {
	a, _ := s.Recover(key)
	return a.LocalnetWas
}

// Recover implements backend.State. The owner it does not know.
func (s State) Recover(key hostport.Key) (a hostport.Attachment, ok bool) {
	for link, users := range s.users {
		if users[key] {
			a = hostport.Attachment{Localhost: true, Link: link, LocalnetWas: s.on[link]}
			a.LocalnetWas = s.before(a)
			return a, true
		}
	}
	return a, false
}
