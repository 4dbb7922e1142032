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
	want := []Point{{h, Translation, -150, false}, {h, Translation, PrioIptables, false}, {h, Translation, PrioIptables, true}, {h, Translation, -95, false}, {h, Rejection, 0, false}, {h, Socket, 0, false}}
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

// A rule for a link takes packets of links that are there. Without a list of those that may be
// any, also one that comes later.
func TestFromLinks(t *testing.T) {
	const dnat = " -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1"
	for rule, want := range map[string]struct{ any, here int }{"PREROUTING -i docker9": {1, 0}, "PREROUTING ! -i docker9": {1, 1}, "PREROUTING -i eth0": {1, 1}} {
		s := node().rules(t, v4, true, rule+dnat)
		for _, links := range [][]walk.Link{nil, {{Name: "lo", Index: 1}, {Name: "eth0", Index: 2}}} {
			s.From = From{Hook: walk.Prerouting, Links: links}
			r, err := Find(attach(hostport.Mapping{Family: v4, Proto: tcp, HostPort: 80}), s)
			n := want.any
			if links != nil {
				n = want.here
			}
			if err != nil || len(r.Conflicts) != n || n > 0 && r.Conflicts[0].Part != (links == nil) {
				t.Errorf("%s by %v: got %+v, %v", rule, links, r.Conflicts, err)
			}
		}
	}
}

// What is behind the jump to our rules is asked after them.
func TestBehindOurJump(t *testing.T) {
	const dnat = "PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1"
	const jump = "PREROUTING -m addrtype --dst-type LOCAL -j PORTGUARD-HOSTPORTS"
	for after, rules := range map[bool][]string{false: {dnat, jump, "PORTGUARD-HOSTPORTS -j RETURN"}, true: {jump, dnat, "PORTGUARD-HOSTPORTS -j RETURN"}} {
		r, err := Find(attach(hostport.Mapping{Family: v4, Proto: tcp, HostPort: 80}), node().rules(t, v4, true, rules...))
		if err != nil || len(r.Conflicts) != 1 || r.Conflicts[0].At[0].After != after {
			t.Errorf("after %v: got %+v, %v", after, r.Conflicts, err)
		}
	}
}
