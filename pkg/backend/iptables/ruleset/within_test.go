// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// What is not within is left alone before everything else, whoever is mapped; rules that are
// as they must be stay, and go with the last attachment.
func TestWithin(t *testing.T) {
	for f, nets := range map[hostport.Family][]string{hostport.IPv4: {"127.0.0.0/8", "192.0.2.1/32"}, hostport.IPv6: {"::1/128", "2001:db8::/64"}} {
		var within addrset.Set
		for _, n := range nets {
			within = within.Or(addrset.Of(netip.MustParsePrefix(n)))
		}
		k, a := newFake(), dualStack()
		for _, step := range []struct {
			within addrset.Set
			sets   []Set
			gaps   int
		}{{addrset.All(f == hostport.IPv4), nil, 0}, {within, nil, 3}, {within, ServiceSets(f), 3}, {within, nil, 3}, {nil, nil, 1}, {addrset.All(f == hostport.IPv4), nil, 0}, {within, ServiceSets(f)[:1], 3}} {
			have := k.layout(t, f)
			k.apply(t, Diff(have, have.Put(step.sets, a).Within(step.within)))
			have = k.layout(t, f)
			if d := Diff(have, have.Put(step.sets, a).Within(step.within)); d != "" {
				t.Errorf("%s: the same again changes\n%s", f, d)
			}
			if d := Diff(have, have.Remove("nobody").Within(step.within)); d != "" {
				t.Errorf("%s: DEL of another changes\n%s", f, d)
			}
			gaps := 0
			for i, r := range have.chains[hostports] {
				if isGap(r) {
					if gaps++; i >= len(step.sets)+step.gaps {
						t.Errorf("%s: %s stands behind what leads to pods", f, r)
					}
				}
			}
			got, spares := have.Reach()
			if gaps != step.gaps || got.String() != step.within.String() || spares != (len(step.sets) > 0) {
				t.Errorf("%s: %d gaps, reach %s, spares Services: %t; want %+v", f, gaps, got, spares, step)
			}
			if lost := have.Check(a, step.sets); len(lost) > 0 {
				t.Errorf("%s: CHECK: %q", f, lost)
			}
			if r, _ := have.Recover(a.Owner.Key()); len(r.Excludes) != len(dualStackExcludes(a, f)) {
				t.Errorf("%s: recovered excludes are %v", f, r.Excludes)
			}
		}
		have := k.layout(t, f)
		if !have.Undoable(have.Remove(a.Owner.Key())) {
			t.Errorf("%s: not undoable", f)
		}
		k.apply(t, Diff(have, have.Remove(a.Owner.Key()).Within(within)))
		if left := strings.Join(k.layout(t, f).named(func(string) bool { return true }), " "); left != "" {
			t.Errorf("%s: left are %s", f, left)
		}
	}
}

func dualStackExcludes(a hostport.Attachment, f hostport.Family) (out []netip.Prefix) {
	for _, p := range a.Excludes {
		if hostport.FamilyOf(p.Addr()) == f {
			out = append(out, p)
		}
	}
	return out
}
