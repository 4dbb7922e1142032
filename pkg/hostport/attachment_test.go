// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func mapping(f Family, ip string, proto Proto, port, to uint16) Mapping {
	return Mapping{Family: f, HostIP: addr(ip), Proto: proto, HostPort: port, ContainerPort: to}
}

func TestMappingPairs(t *testing.T) {
	for _, tt := range []struct {
		name              string
		a, b              Mapping
		overlaps, sameKey bool
	}{
		{"a mapping overlaps itself", mapping(4, "", TCP, 80, 80), mapping(4, "", TCP, 80, 80), true, true},
		{"the target does not matter", mapping(4, "", TCP, 80, 80), mapping(4, "", TCP, 80, 81), true, true},
		{"the wildcard absorbs an address", mapping(4, "", TCP, 80, 80), mapping(4, "192.0.2.1", TCP, 80, 80), true, false},
		{"one address overlaps itself", mapping(4, "192.0.2.1", TCP, 80, 1), mapping(4, "192.0.2.1", TCP, 80, 2), true, true},
		{"two addresses are apart", mapping(4, "192.0.2.1", TCP, 80, 80), mapping(4, "192.0.2.2", TCP, 80, 80), false, false},
		{"two protocols are apart", mapping(4, "", TCP, 80, 80), mapping(4, "", UDP, 80, 80), false, false},
		{"two ports are apart", mapping(4, "", TCP, 80, 80), mapping(4, "", TCP, 81, 80), false, false},
		{"two families are apart", mapping(4, "", TCP, 80, 80), mapping(6, "", TCP, 80, 80), false, false},
		{"an IPv6 address does not overlap the IPv4 wildcard", mapping(4, "", TCP, 80, 80), mapping(6, "2001:db8::1", TCP, 80, 80), false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := []bool{tt.a.Overlaps(tt.b), tt.b.Overlaps(tt.a), tt.a.SameKey(tt.b), tt.b.SameKey(tt.a)}
			want := []bool{tt.overlaps, tt.overlaps, tt.sameKey, tt.sameKey}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("overlaps both ways, same key both ways (-want +got)\n%s", diff)
			}
		})
	}
}

func TestMappingString(t *testing.T) {
	for _, tt := range []struct {
		m    Mapping
		want string
	}{
		{mapping(4, "", TCP, 80, 8080), "80/tcp"},
		{mapping(6, "", SCTP, 80, 8080), "80/sctp"},
		{mapping(4, "192.0.2.1", UDP, 53, 53), "192.0.2.1:53/udp"},
		{mapping(6, "2001:db8::1", TCP, 80, 8080), "[2001:db8::1]:80/tcp"},
	} {
		if got := tt.m.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestAttachmentScope(t *testing.T) {
	on := Attachment{Localhost: true, Excludes: []netip.Prefix{netip.MustParsePrefix("192.0.2.64/26"), netip.MustParsePrefix("2001:db8:1::/48")}}
	off := on
	off.Localhost = false
	for _, tt := range []struct {
		name    string
		a       Attachment
		ip      string
		link    string
		claimed bool
	}{
		{"a node address is claimed", on, "192.0.2.1", "eth0", true},
		{"an address of an unknown link is claimed", on, "192.0.2.1", "", true},
		{"an IPv6 node address is claimed", on, "2001:db8::1", "eth0", true},
		{"an excluded address is not", on, "192.0.2.65", "eth0", false},
		{"an excluded IPv6 address is not", on, "2001:db8:1::5", "eth0", false},
		{"127.0.0.1 is claimed with localhost", on, "127.0.0.1", "lo", true},
		{"127.0.0.1 is not claimed without", off, "127.0.0.1", "lo", false},
		{"other loopback addresses are never claimed", on, "127.0.0.53", "lo", false},
		{"::1 is never claimed", on, "::1", "lo", false},
		{"an IPv6 link-local address is never claimed", on, "fe80::1", "eth0", false},
		{"an IPv4 link-local address is claimed", on, "169.254.20.10", "eth0", true},
		{"an address on kube-ipvs0 is not", on, "192.0.2.1", "kube-ipvs0", false},
		{"an address on nodelocaldns is not", on, "169.254.20.10", "nodelocaldns", false},
		{"a global address on lo is claimed", on, "192.0.2.1", "lo", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			infra := ""
			if (Links(Infrastructure())).Has(tt.link) {
				infra = tt.link
			}
			ip := addr(tt.ip)
			scope := tt.a.Scope([]Local{{Prefix: netip.PrefixFrom(ip, ip.BitLen()), Infrastructure: infra}}, FamilyOf(ip))
			if got := scope.Contains(ip); got != tt.claimed {
				t.Errorf("got %v, want %v", got, tt.claimed)
			}
		})
	}
}

func TestAttachmentByFamily(t *testing.T) {
	v4, v6 := mapping(4, "", TCP, 80, 8080), mapping(6, "", TCP, 80, 8080)
	a := Attachment{
		Pods:         []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("fd00::2/64")},
		Mappings:     []Mapping{v6, v4},
		ConditionsV4: []string{"4"}, ConditionsV6: []string{"6"},
		Carves: []Carve{{Addr: addr("127.0.0.1"), Proto: UDP, Port: 53}},
	}
	opt := cmpopts.EquateComparable(netip.Addr{})
	if diff := cmp.Diff([]Mapping{v4}, a.Of(IPv4), opt); diff != "" {
		t.Errorf("IPv4 mappings (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]Mapping{v6, v4}, a.Mappings, opt); diff != "" {
		t.Errorf("Of changed its receiver (-want +got)\n%s", diff)
	}
	if p, ok := a.Pod(IPv6); !ok || p.String() != "fd00::2/64" {
		t.Errorf("IPv6 pod is %v, %v", p, ok)
	}
	if p, ok := (Attachment{Pods: a.Pods[:1]}).Pod(IPv6); ok {
		t.Errorf("a pod without IPv6 has %v", p)
	}
	if diff := cmp.Diff([][]string{{"4"}, {"6"}}, [][]string{a.Conditions(IPv4), a.Conditions(IPv6)}); diff != "" {
		t.Errorf("conditions (-want +got)\n%s", diff)
	}
	local := []Local{{Prefix: netip.MustParsePrefix("192.0.2.0/30")}}
	a.Carves = []Carve{{Addr: addr("192.0.2.1"), Proto: UDP, Port: 53}}
	maps := func(p Proto, port uint16, ip string) bool {
		return a.Destinations(local, mapping(4, "", p, port, 1)).Contains(addr(ip))
	}
	carved := []bool{!maps(UDP, 53, "192.0.2.1"), !maps(TCP, 53, "192.0.2.1"), !maps(UDP, 54, "192.0.2.1"), !maps(UDP, 53, "192.0.2.2")}
	if diff := cmp.Diff([]bool{true, false, false, false}, carved); diff != "" {
		t.Errorf("carved (-want +got)\n%s", diff)
	}
}
