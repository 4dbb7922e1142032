// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// within are two ranges of addresses.
func within(n4, n6 int) map[hostport.Family]addrset.Set {
	out := map[hostport.Family]addrset.Set{}
	for i := range n4 {
		out[v4] = out[v4].Or(addrset.Of(prefix(fmt.Sprintf("192.0.2.%d/31", 4*i))))
	}
	for i := range n6 {
		out[v6] = out[v6].Or(addrset.Of(prefix(fmt.Sprintf("2001:db8::%x/128", 2*i))))
	}
	return out
}

// The sets own follow the node with every With and Without, and go with the last mapping.
// What an attachment has does not depend on them.
func TestOwnFollowsTheNode(t *testing.T) {
	one, two := web("one"), web("two", ports(on(v4, "", udp, 9, 9)), func(a *hostport.Attachment) { a.Pods = []netip.Prefix{prefix("10.88.0.6/16")} })
	s := &State{Table: Spec().Absent(), Within: within(1, 1)}
	s = s.With(one).(*State)
	s.Within = within(3, 2)
	ofOwn := func(s *State) (n, rest int) {
		for e := range s.Table.All() {
			if isOwn(e) {
				n++
			} else {
				rest++
			}
		}
		return n, rest
	}
	before, elements := ofOwn(s)
	for what, next := range map[string]*State{
		"With of another": s.With(two).(*State), "Without of another": s.Without(two.Owner.Key()).(*State), "Without of nobody": s.Without().(*State), "With of itself": s.With(one).(*State),
	} {
		n, rest := ofOwn(next)
		if before != 2 || n != 5 || what != "With of another" && rest != elements {
			t.Errorf("%s: %d elements of the node's own, before %d; %d of pods, before %d", what, n, before, rest, elements)
		}
		for _, f := range hostport.Families() {
			got, spares := next.Reach(f)
			if d := cmp.Diff(s.Within[f].String(), got.String()); d != "" || spares {
				t.Errorf("%s: reach of %s (-want +got)\n%s", what, f, d)
			}
		}
		if lost := next.Missing(one); len(lost) > 0 {
			t.Errorf("%s: lost %q", what, lost)
		}
	}
	if gone := s.Without(one.Owner.Key()).(*State); gone.Table.There {
		t.Error("the sets own stay without mappings")
	}
	if s.Within = within(0, 1); len(s.Missing(one)) > 0 {
		t.Error("a mapping is missing for an address that went")
	}
}

// A table of a version that did not know the sets lets mappings be everywhere, and a DEL
// there makes nothing new.
func TestOwnOfAnotherVersion(t *testing.T) {
	one, two := web("one"), web("two", ports(on(v4, "", udp, 9, 9)))
	s := spoiled(absent().With(one).With(two), "set own4", "set own6", "chain hostports4", "chain hostports6")
	s.Within = within(2, 2)
	if got, _ := s.Reach(v4); got.String() != addrset.All(true).String() {
		t.Errorf("reach is %s", got)
	}
	next := s.Without(two.Owner.Key()).(*State)
	for e := range next.Table.All() {
		if isOwn(e) {
			t.Errorf("DEL makes %+v in a set that is not there", e)
		}
	}
	mended := s.With(two).(*State)
	if got, _ := mended.Reach(v6); got.String() != s.Within[v6].String() || plan(s, mended).Empty() {
		t.Errorf("after an ADD reach is %s", got)
	}
	if absentReach, _ := absent().Reach(v4); absentReach.String() != addrset.All(true).String() {
		t.Errorf("of no table reach is %s", absentReach)
	}
}
