// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// sets asks for the name, the type and the members of each ipset once: all walks of a Finder
// come across the same ones.
type sets struct {
	walk.Sets
	names   map[uint16]string
	types   map[string]string
	members map[string]members
	expires map[string]bool
}

// members are those of a set, if that was listed.
type members struct {
	list  []hostport.Member
	whole bool
}

func newSets(s walk.Sets) walk.Sets {
	if s == nil {
		return nil
	}
	return sets{s, map[uint16]string{}, map[string]string{}, map[string]members{}, map[string]bool{}}
}

// SetName implements walk.Sets.
func (s sets) SetName(index uint16) (string, error) {
	return once(s.names, index, s.Sets.SetName)
}

// SetType implements walk.Sets.
func (s sets) SetType(name string) (string, error) {
	return once(s.types, name, s.Sets.SetType)
}

// SetExpires implements walk.Sets.
func (s sets) SetExpires(name string) (bool, error) {
	return once(s.expires, name, s.Sets.SetExpires)
}

// SetMembers implements walk.Sets.
func (s sets) SetMembers(name string) ([]hostport.Member, bool, error) {
	m, err := once(s.members, name, func(name string) (m members, err error) {
		m.list, m.whole, err = s.Sets.SetMembers(name)
		return m, err
	})
	return m.list, m.whole, err
}

// once asks, unless the answer is known.
func once[K comparable, V any](known map[K]V, of K, ask func(K) (V, error)) (V, error) {
	if v, ok := known[of]; ok {
		return v, nil
	}
	v, err := ask(of)
	if err == nil {
		known[of] = v
	}
	return v, err
}
