// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
)

// Of each part of the skeleton it is known which packets it keeps away when it is gone. Only what leaves
// packets alone keeps none away.
func TestCutByPart(t *testing.T) {
	a := web("web", func(a *hostport.Attachment) { a.ConditionsV6 = nil })
	full := absent().With(a)
	if cut := full.(*State).Cut(a); cut != 0 {
		t.Errorf("nothing is missing, and packets are kept away: %b", cut)
	}
	var parts []string
	for _, s := range Spec().Sets {
		parts = append(parts, "set "+s.Name)
	}
	for _, c := range Spec().Chains {
		parts = append(parts, "chain "+c.Name)
	}
	aside := []string{"spared", "bylink", "connected", "established"}
	for _, part := range parts {
		_, name, _ := strings.Cut(strings.TrimRight(part, "46"), " ")
		cut := spoiled(full, part).Cut(a)
		if (cut == 0) != slices.Contains(aside, name) {
			t.Errorf("without %s packets are kept away: %b", part, cut)
		}
	}
	if cut := spoiled(full, "flag dormant").Cut(a); cut != hostport.CutAll {
		t.Errorf("a dormant table keeps away %b", cut)
	}
}

// A mapping that is gone keeps no packets from others, nor what one family lacks from the other.
func TestCutOfOthers(t *testing.T) {
	a := web("web", ports(on(v4, "", tcp, 8080, 80), on(v4, "192.0.2.1", tcp, 8081, 80)))
	full := absent().With(a)
	for set, want := range map[string]hostport.Cut{
		"ports4": 0, "addresses4": 0, setLocalhost: hostport.CutWildcard, setLinks: hostport.CutLocalhost,
		"masquerade4": hostport.Unmasked, "neighbours4": hostport.Unmasked,
	} {
		if cut := without(full, set).Cut(a); cut != want {
			t.Errorf("without the elements of %s %b is kept away, want %b", set, cut, want)
		}
	}
	if cut := spoiled(full, "chain hostports6").Cut(a); cut != 0 {
		t.Errorf("without a chain of IPv6 %b of IPv4 is kept away", cut)
	}
}
