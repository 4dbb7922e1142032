// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

func TestLeaveToOwners(t *testing.T) {
	on := func(ip string, f hostport.Family) hostport.Mapping {
		m := hostport.Mapping{Family: f, Proto: hostport.TCP, HostPort: 80, ContainerPort: 8080}
		if ip != "" {
			m.HostIP = netip.MustParseAddr(ip)
		}
		return m
	}
	claim := func(m hostport.Mapping, key, backend string, life hostport.Life) []hostport.Claim {
		return []hostport.Claim{{Key: key, Mapping: m, Backend: backend, Life: life}}
	}
	excludes := func(claims []hostport.Claim) []hostport.Claim {
		claims[0].Excludes = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
		return claims
	}
	own := hostport.Attachment{Excludes: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/31")}}
	all4, one4, two4, all6 := on("", hostport.IPv4), on("192.0.2.1", hostport.IPv4), on("192.0.2.2", hostport.IPv4), on("", hostport.IPv6)
	for _, tt := range []struct {
		name   string
		ask    hostport.Mapping
		claims []hostport.Claim
		kept   bool
	}{
		{"nobody has it", all4, nil, true},
		{"somebody has the wildcard", all4, claim(all4, "other", "nftables", hostport.Alive), false},
		{"in the other family", all6, claim(all4, "other", "nftables", hostport.Alive), true},
		{"a dead one has it", all4, claim(all4, "other", "nftables", hostport.Dead), true},
		{"nobody can tell whether one lives that has it", all4, claim(all4, "other", "nftables", hostport.Unknown), false},
		{"we have it", all4, claim(all4, own.Owner.Key(), "nftables", hostport.Alive), true},
		{"an address under somebody's wildcard", one4, claim(all4, "other", "nftables", hostport.Alive), false},
		{"a wildcard over somebody's address", all4, claim(one4, "other", "nftables", hostport.Alive), true},
		{"the same in another backend", all4, claim(one4, "other", "iptables", hostport.Alive), false},
		{"an address that somebody's wildcard excludes", one4, excludes(claim(all4, "other", "iptables", hostport.Alive)), true},
		{"another one", two4, excludes(claim(all4, "other", "nftables", hostport.Alive)), false},
		{"a wildcard that excludes somebody's address, in another backend", all4, claim(two4, "other", "iptables", hostport.Alive), true},
		{"two wildcards", all4, excludes(claim(all4, "other", "nftables", hostport.Alive)), false},
		{"another address", one4, claim(two4, "other", "nftables", hostport.Alive), true},
	} {
		kept, left := leaveToOwners(own, []hostport.Mapping{tt.ask}, tt.claims, "nftables")
		if tt.kept != (len(kept) == 1) || tt.kept == (len(left) == 1) {
			t.Errorf("%s: kept %v, left %v", tt.name, kept, left)
		}
	}
	if kept, left := leaveToOwners(own, []hostport.Mapping{all4, all6}, claim(all6, "other", "nftables", hostport.Alive), "nftables"); cmp.Diff([]hostport.Mapping{all4}, kept, cmp.Comparer(same)) != "" || len(left) != 1 {
		t.Errorf("kept %v, left %v", kept, left)
	}
}
