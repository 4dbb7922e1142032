// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// What one listener does to a mapping of both families is said once.
func TestMessagesSayThingsOnce(t *testing.T) {
	r, err := Find(attach(mapTo(v4, ""), mapTo(v6, "")), node().with(listens(tcp, "::", 80)))
	if err != nil {
		t.Fatal(err)
	}
	if got := Messages(r.Conflicts); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

func TestPointsAreInTheOrderOfTheKernel(t *testing.T) {
	h := walk.Prerouting
	want := []Point{{h, Translation, -150}, {h, Translation, PrioIptables}, {h, Translation, -95}, {h, Rejection, 0}, {h, Socket, 0}}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Point.Compare)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What an ADD leaves alone is not lost: somebody may ask who else has the port.
func TestBeside(t *testing.T) {
	s := node().with(listens(tcp, "127.0.0.1", 80)).claimed("x", true, mapTo(v4, ""))
	r, err := Find(attach(mapTo(v4, "")), s)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []finding.Kind
	for _, f := range r.Beside {
		kinds = append(kinds, f.Kind)
	}
	if diff := cmp.Diff([]finding.Kind{finding.Listener, finding.Claimed}, kinds); diff != "" || len(r.Conflicts) > 0 {
		t.Errorf("conflicts %v (-want +got)\n%s", r.Conflicts, diff)
	}
}

// A question about packets from one side does not hear of rules for the other.
func TestFrom(t *testing.T) {
	s := node().rules(t, v4, true, "OUTPUT -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1")
	for hook, want := range map[walk.Hook]int{"": 1, walk.Output: 1, walk.Prerouting: 0} {
		s.From = From{Hook: hook}
		r, err := Find(attach(hostport.Mapping{Family: v4, Proto: tcp, HostPort: 80}), s)
		if err != nil || len(r.Conflicts) != want {
			t.Errorf("hook %q: got %v, %v", hook, r.Conflicts, err)
		}
	}
}
