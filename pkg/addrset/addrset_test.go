// SPDX-License-Identifier: Apache-2.0

package addrset

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func set(prefixes ...string) Set {
	var out Set
	for _, p := range prefixes {
		out = out.Or(Of(netip.MustParsePrefix(p)))
	}
	return out
}

func TestSet(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  Set
		want string
	}{
		{"a prefix is its addresses", set("10.0.0.7/30"), "10.0.0.4-10.0.0.7"},
		{"a single address", set("::1/128"), "::1"},
		{"spans that touch join", set("10.0.0.0/25", "10.0.0.128/25", "10.0.1.1/32"), "10.0.0.0-10.0.0.255,10.0.1.1"},
		{"the last address of a family touches none", set("255.255.255.255/32", "::/128"), "255.255.255.255,::"},
		{"overlapping spans join", set("10.0.0.0/24", "10.0.0.0/25", "10.0.0.128/26"), "10.0.0.0-10.0.0.255"},
		{"the rest of all", All(true).Not(true), ""},
		{"the rest of nothing", Set(nil).Not(false), "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"the rest of the middle", set("128.0.0.0/2").Not(true), "0.0.0.0-127.255.255.255,192.0.0.0-255.255.255.255"},
		{"what is in both", set("10.0.0.0/8", "192.168.0.0/16").And(set("10.1.0.0/16", "192.0.0.0/8")), "10.1.0.0-10.1.255.255,192.168.0.0-192.168.255.255"},
		{"a range in the wrong order is empty", Between(netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")), ""},
		{"a range of two families is empty", Between(netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("::1")), ""},
	} {
		if got := tt.got.String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// The operations are those of sets, address by address.
func TestSetProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() Set {
		var s Set
		for range r.IntN(4) {
			s = s.Or(Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))}), 24+r.IntN(9))))
		}
		return s
	}
	for range 2000 {
		a, b := random(), random()
		if got, want := a.Minus(b), a.And(b.Not(true)); !slices.Equal(got, want) {
			t.Fatalf("%s without %s: got %s, want %s", a, b, got, want)
		}
		if got, want := a.Covers(b), len(b.Minus(a)) == 0; got != want || !a.Covers(a.And(b)) {
			t.Fatalf("%s covers %s: got %t, want %t", a, b, got, want)
		}
		for i := range 256 {
			ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			inA, inB := a.Contains(ip), b.Contains(ip)
			if a.And(b).Contains(ip) != (inA && inB) || a.Or(b).Contains(ip) != (inA || inB) || a.Not(true).Contains(ip) == inA {
				t.Fatalf("%s and %s differ at %s", a, b, ip)
			}
		}
	}
}

// The addresses with some bits are those that have them, one by one.
func TestMasked(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		at := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(4)), byte(r.IntN(256))}) }
		s := Between(at(), at()).Or(Between(at(), at()))
		mask, value := []byte{255, byte(r.IntN(2)), byte(r.IntN(256)), byte(r.IntN(256))}, make([]byte, 4)
		for range 2 {
			mask[2+r.IntN(2)] &= byte(r.IntN(256))
		}
		for i, b := range at().AsSlice() {
			value[i] = b & mask[i]
		}
		got, ok := s.Masked(mask, value, 2000)
		if !ok {
			t.Fatalf("%v %x: too many", s, mask)
		}
		for _, sp := range s {
			for a := sp.Lo; ; a = a.Next() {
				want := true
				for i, b := range a.AsSlice() {
					want = want && b&mask[i] == value[i]
				}
				if got.Contains(a) != want {
					t.Fatalf("%v with %x & %x: %v in %v is %v", s, value, mask, a, got, !want)
				}
				if a == sp.Hi {
					break
				}
			}
		}
		if len(got.And(s.Not(true))) > 0 {
			t.Fatalf("%v is not in %v", got, s)
		}
	}
	all := All(false)
	if got, ok := all.Masked(set("ffff::/16")[0].Lo.AsSlice(), set("fd00::/16")[0].Lo.AsSlice(), 1); !ok || got.String() != "fd00::-fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff" {
		t.Errorf("a prefix: %v", got)
	}
	if _, ok := all.Masked(set("::1/128")[0].Lo.AsSlice(), set("::1/128")[0].Lo.AsSlice(), 64); ok {
		t.Error("all odd addresses are few")
	}
}
