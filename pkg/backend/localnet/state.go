// SPDX-License-Identifier: Apache-2.0

package localnet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
)

// A State is what is known of links, or should be.
type State struct {
	// into is the guard that With uses.
	into string
	// guards are the links of each guard by its name; records have the users that
	// only records tell of.
	guards  map[string]map[string]Link
	records map[string]Link
	// was is what each link was that this State, or the one it came from, knows.
	was map[string]bool
	// on are the links with route_localnet.
	on map[string]bool
}

var _ backend.State = State{}

// Claims implements backend.State: the sysctl leads nowhere.
func (s State) Claims() []hostport.Claim { return nil }

// With implements backend.State. It is Without for an attachment that does not need
// localhost. What the link was, a guard knows better than the attachment.
func (s State) With(a hostport.Attachment, instead ...hostport.Key) backend.State {
	d := s.without(append(instead, a.Owner.Key()))
	u, ok := userOf(a)
	if !ok {
		return d.finish()
	}
	if _, known := d.was[a.Link]; !known {
		d.was[a.Link] = a.LocalnetWas
	}
	l := d.guards[d.into][a.Link]
	users := append(slices.Clone(l.Users), u)
	sortUsers(users)
	d.guards[d.into] = with(d.guards[d.into], a.Link, Link{Was: d.was[a.Link], Users: users})
	d.on[a.Link] = true
	return d.finish()
}

// userOf is what a needs route_localnet for.
func userOf(a hostport.Attachment) (u User, ok bool) {
	_, ok = a.Pod(hostport.IPv4)
	return User{Tag: a.Owner.Tag()}, ok && a.Localhost && a.Link != ""
}

func sortUsers(users []User) {
	slices.SortFunc(users, func(a, b User) int { return strings.Compare(a.Tag, b.Tag) })
}

func with(links map[string]Link, name string, l Link) map[string]Link {
	out := maps.Clone(links)
	if out == nil {
		out = map[string]Link{}
	}
	out[name] = l
	return out
}

// Without implements backend.State.
func (s State) Without(keys ...hostport.Key) backend.State { return s.without(keys).finish() }

// without takes users away.
func (s State) without(keys []hostport.Key) State {
	d := State{into: s.into, guards: map[string]map[string]Link{}, records: removed(s.records, keys), was: maps.Clone(s.was), on: maps.Clone(s.on)}
	for name, links := range s.guards {
		d.guards[name] = removed(links, keys)
	}
	return d
}

func removed(links map[string]Link, keys []hostport.Key) map[string]Link {
	out := maps.Clone(links)
	for name, l := range out {
		l.Users = slices.DeleteFunc(slices.Clone(l.Users), func(u User) bool { return slices.Contains(keys, u.Key()) })
		out[name] = l
	}
	return out
}

// finish takes away the guards of links that nobody uses. A guard of which the users
// are lost stays as long as a record tells of one.
func (s State) finish() State {
	unused := func(links map[string]Link) {
		maps.DeleteFunc(links, func(name string, l Link) bool { return len(l.Users) == 0 && len(s.records[name].Users) == 0 })
	}
	for _, links := range s.guards {
		unused(links)
	}
	unused(s.records)
	used := s.links()
	maps.DeleteFunc(s.on, func(name string, _ bool) bool { return !used[name] })
	return s
}

// links are those that somebody uses.
func (s State) links() map[string]bool {
	out := map[string]bool{}
	for name := range s.records {
		out[name] = true
	}
	for _, links := range s.guards {
		for name := range links {
			out[name] = true
		}
	}
	return out
}

// users are the keys of those that a guard knows.
func (s State) users() map[hostport.Key]bool {
	out := map[hostport.Key]bool{}
	for _, links := range s.guards {
		for _, l := range links {
			for _, u := range l.Users {
				out[u.Key()] = true
			}
		}
	}
	return out
}

// Missing implements backend.State.
func (s State) Missing(a hostport.Attachment) []string {
	u, ok := userOf(a)
	if !ok {
		return nil
	}
	lost := []string{fmt.Sprintf("the guard that keeps others from 127.0.0.0/8 over %s is missing", a.Link)}
	for _, name := range slices.Sorted(maps.Keys(s.guards)) {
		l, guarded := s.guards[name][a.Link]
		if !guarded {
			continue
		}
		lost = slices.Clone(l.Broken)
		if slices.ContainsFunc(l.Users, func(o User) bool { return o.Key() == u.Key() }) {
			break
		}
		lost = append(lost, fmt.Sprintf("the guard of %s does not know that the pod needs it", a.Link))
	}
	if on, known := s.on[a.Link]; known && !on {
		lost = append(lost, fmt.Sprintf("route_localnet of %s is off, so localhost does not reach the pod", a.Link))
	}
	return lost
}

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

// Recover implements backend.State.
func (s State) Recover(key hostport.Key) (a hostport.Attachment, ok bool) {
	for _, links := range s.guards {
		for name, l := range links {
			for _, u := range l.Users {
				if owner, k, _ := hostport.ParseTag(u.Tag); k == key && key != "" {
					a = hostport.Attachment{Owner: owner,
						Localhost: true, Link: name, LocalnetWas: s.was[name]}
					ok = true
				}
			}
		}
	}
	return a, ok
}
