// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portguard/portguard/pkg/hostport"
)

// What a mapping leaves out of links is read from the kernel, and is one claim with it.
func TestLinksAreRead(t *testing.T) {
	a := shapes()["links"]
	s := absent().With(a).(*State)
	if lost := s.Missing(a); len(lost) > 0 {
		t.Errorf("lost: %q", lost)
	}
	bare := a
	bare.Carves = nil
	if lost := absent().With(bare).Missing(a); len(lost) != 5 { // three of links, two that lead there
		t.Errorf("without them lost: %q", lost)
	}
	links := map[string][]string{}
	for _, c := range s.Claims() {
		if _, twice := links[c.Mapping.String()]; twice || c.Part {
			t.Errorf("claim %+v", c)
		}
		links[c.Mapping.String()] = c.NotBy
	}
	want := map[string][]string{"192.0.2.1:80/tcp": {"virbr0", "virbr1"}, "[2001:db8:2::1]:53/udp": {"eth0.7"}, "198.51.100.1:80/tcp": nil}
	if d := cmp.Diff(want, links); d != "" {
		t.Errorf("links (-want +got)\n%s", d)
	}
	got, _ := s.Recover(a.Owner.Key())
	less := func(x, y hostport.Carve) bool { return x.Link < y.Link }
	carves := slices.DeleteFunc(slices.Clone(a.Carves), func(c hostport.Carve) bool { return c.Proto == udp && c.Port == 80 }) // of no mapping
	if d := cmp.Diff(carves, got.Carves, cmpopts.SortSlices(less), cmpopts.EquateComparable(carves[0].Addr)); d != "" {
		t.Errorf("carves (-want +got)\n%s", d)
	}
	if len(got.Mappings) != len(a.Mappings) {
		t.Errorf("mappings: %v", got.Mappings)
	}
	if s.Without(a.Owner.Key()).(*State).Table.There {
		t.Error("something is left")
	}
}
