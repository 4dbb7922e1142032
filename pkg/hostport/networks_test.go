// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func TestCover(t *testing.T) {
	few := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")}
	if got := Cover(few); !slices.Equal(got, few) {
		t.Errorf("few networks became %v", got)
	}
	// A cloud's node with many single addresses, 20 bridges of docker, the pods' network.
	many := slices.Clone(few)
	for i := range 5000 {
		many = append(many, netip.MustParsePrefix(fmt.Sprintf("100.64.%d.%d/32", i>>8, i&255)), netip.MustParsePrefix(fmt.Sprintf("fd00:64::%x/128", i)))
	}
	for i := range 20 {
		many = append(many, netip.MustParsePrefix(fmt.Sprintf("172.%d.0.0/16", 17+i)))
	}
	many = append(many, netip.MustParsePrefix("10.88.0.0/16"))
	got := Cover(many)
	for _, p := range many {
		if !slices.ContainsFunc(got, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) }) {
			t.Errorf("nothing covers %s", p)
		}
	}
	of := map[Family]int{}
	for i, p := range got {
		of[FamilyOf(p.Addr())]++
		for _, o := range got[:i] {
			if o.Overlaps(p) {
				t.Errorf("%s and %s overlap", o, p)
			}
		}
		// What is far from all of them, as the addresses of Services are, is in none.
		for _, far := range []string{"10.96.0.1", "8.8.8.8", "203.0.113.1", "fd00:96::1"} {
			if p.Contains(netip.MustParseAddr(far)) {
				t.Errorf("%s holds %s", p, far)
			}
		}
	}
	if of[IPv4] > mostNetworks || of[IPv6] > mostNetworks {
		t.Errorf("%d networks: %v", len(got), got)
	}
	if again := Cover(got); !slices.Equal(again, got) {
		t.Errorf("the cover of %v is %v", got, again)
	}
}
