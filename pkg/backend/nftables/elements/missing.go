// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// Missing implements backend.State. Elements of others matter only if they keep packets from a's.
func (s *State) Missing(a hostport.Attachment) []string {
	want := (&State{Table: s.Table.Spec.Absent()}).With(a).(*State).Table
	name := "table " + s.Table.Spec.Table.String()
	switch {
	case !want.There: // all it asked for stays with others
		return nil
	case s.Stranger() != "":
		return []string{s.Table.Stranger.Error()}
	case !s.Table.There:
		return []string{name + " is missing"}
	}
	var lost []string
	for i, what := range s.Misplaced() {
		if f, one := familyOf(s.Table.Broken[i]); one && len(a.Of(f)) == 0 {
			continue // of the other family only
		}
		lost = append(lost, what)
	}
	for _, e := range want.Elements(func(e nfttable.Element) bool { return !s.holds(e) }) {
		if have, ok := s.Table.Same(e); ok {
			lost = append(lost, fmt.Sprintf("%s: set %s has the element %q, not %q", name, e.Set, want.Spec.Text(have), want.Spec.Text(e)))
		} else {
			lost = append(lost, fmt.Sprintf("%s: set %s lacks the element %q", name, e.Set, want.Spec.Text(e)))
		}
	}
	lost = append(lost, s.keptFrom(a)...)
	for _, f := range hostport.Families() { // what is in it follows the node
		if within, _ := s.Reach(f); len(within) == 0 && len(s.Within[f]) > 0 && len(a.Of(f)) > 0 {
			lost = append(lost, fmt.Sprintf("%s: set %s is empty", name, info(f).name("own")))
		}
	}
	for _, chain := range want.Chains() {
		c, _ := want.Conditions(chain)
		switch have, ok := s.Table.Conditions(chain); {
		case !ok:
			lost = append(lost, fmt.Sprintf("%s: chain %s is missing", name, chain))
		case !slices.Equal(have.Shape, c.Shape):
			lost = append(lost, fmt.Sprintf("%s: chain %s does not have the rules of ADD", name, chain))
		}
	}
	return lost
}

// Whole implements backend.State. Conditions are compared by Missing.
func (s *State) Whole(a hostport.Attachment) bool {
	if !s.Table.There || s.Table.Stranger != nil || len(s.Table.Broken) > 0 {
		return false
	}
	if _, some := conditions(a); some {
		return len(s.Missing(a)) == 0
	}
	whole := len(s.keptFrom(a)) == 0
	each(a, func(e nfttable.Element) { whole = whole && s.holds(e) })
	return whole
}

// holds reports whether an element is there, and nothing else in its place.
func (s *State) holds(e nfttable.Element) bool {
	have, ok := s.Table.Same(e)
	return ok && have == e
}

// familyOf is that of a shared part whose name ends with it.
func familyOf(part string) (hostport.Family, bool) {
	switch part[len(part)-1] {
	case '4':
		return hostport.IPv4, true
	case '6':
		return hostport.IPv6, true
	}
	return 0, false
}
