// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"net/netip"
	"testing"
)

func TestApart(t *testing.T) {
	all := Mapping{Family: IPv4, Proto: TCP, HostPort: 80}
	one, two := all, all
	one.HostIP, two.HostIP = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	first := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/32")}
	for _, tt := range []struct {
		name  string
		claim Claim
		a     Attachment
		ask   Mapping
		apart bool
	}{
		{"an address that the wildcard excludes", Claim{Mapping: all, Excludes: first}, Attachment{}, one, true},
		{"another one", Claim{Mapping: all, Excludes: first}, Attachment{}, two, false},
		{"no record tells what it excludes", Claim{Mapping: all}, Attachment{}, one, false},
		{"conditions on one side", Claim{Mapping: all, Excludes: first, Part: true}, Attachment{}, one, false},
		{"conditions on the other", Claim{Mapping: all, Excludes: first}, Attachment{ConditionsV4: []string{"x"}}, one, false},
		{"conditions of the other family", Claim{Mapping: all, Excludes: first}, Attachment{ConditionsV6: []string{"x"}}, one, true},
		{"a wildcard that excludes the address", Claim{Mapping: one}, Attachment{Excludes: first}, all, true},
		{"a wildcard that excludes another", Claim{Mapping: two}, Attachment{Excludes: first}, all, false},
		{"two wildcards", Claim{Mapping: all, Excludes: first}, Attachment{Excludes: first}, all, false},
		{"two addresses", Claim{Mapping: one, Excludes: first}, Attachment{Excludes: first}, one, false},
	} {
		if got := tt.claim.Apart(&tt.a, tt.ask); got != tt.apart {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
