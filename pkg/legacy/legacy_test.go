// SPDX-License-Identifier: Apache-2.0

package legacy_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/legacy"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// dump reads a table that the kernel handed out, and the text that it was made of.
func dump(t testing.TB, f hostport.Family) (info, entries []byte, text string) {
	t.Helper()
	tool := map[hostport.Family]string{hostport.IPv4: "iptables", hostport.IPv6: "ip6tables"}[f]
	b, err1 := os.ReadFile("testdata/" + tool + ".table")
	save, err2 := os.ReadFile("testdata/" + tool + ".save")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		need.Skip(t, "the tables are of a machine with little endian")
	}
	return b[:legacy.InfoSize], b[legacy.InfoSize:], string(save)
}

func table(t testing.TB, f hostport.Family) *legacy.Table {
	t.Helper()
	info, entries, _ := dump(t, f)
	out, err := decode(f, info, entries)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func decode(f hostport.Family, info, entries []byte) (*legacy.Table, error) {
	return legacy.Decode(nft.Table{Family: f.NFProto(), Name: "nat"}, info, entries)
}

// Each rule is what iptables-nft would have made of its text.
func TestRules(t *testing.T) {
	for _, f := range hostport.Families() {
		_, _, text := dump(t, f)
		want, err := xtrule.Parse(text, f)
		if err != nil {
			t.Fatal(err)
		}
		got, name := table(t, f), nft.Table{Family: f.NFProto(), Name: "nat"}
		if d := cmp.Diff(want.Chains(name), sorted(got.Chains())); d != "" {
			t.Errorf("chains (-want +got):\n%s", d)
		}
		for _, chain := range got.Chains() {
			w, err1 := want.Rules(name, chain)
			g, err2 := got.Rules(chain)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(plain(w), plain(g)); d != "" {
				t.Errorf("%s %s (-want +got):\n%s", f, chain, d)
			}
		}
	}
}

// plain leaves out what tests cannot know: how opaque matches look inside.
func plain(rules []nft.Rule) []nft.Rule {
	for _, r := range rules {
		for i, e := range r.Exprs {
			switch info := xt.InfoOf(e, false); info.Name {
			case "statistic":
				r.Exprs[i] = xt.MatchExpr(xt.Info{Name: info.Name})
			case "sctp": // behind the ports are chunks that do not count
				r.Exprs[i] = xt.MatchExpr(xt.Info{Name: info.Name, Data: info.Data[:8]})
			}
		}
	}
	return rules
}

func TestBaseChains(t *testing.T) {
	got := table(t, hostport.IPv4)
	nat := nft.Table{Family: nft.IPv4, Name: "nat"}
	want := []nft.Chain{
		{Table: nat, Name: "PREROUTING", Type: "nat", Hook: nft.Prerouting, Priority: -100},
		{Table: nat, Name: "INPUT", Type: "nat", Hook: nft.Input, Priority: 100},
		{Table: nat, Name: "OUTPUT", Type: "nat", Hook: nft.Output, Priority: -100},
		{Table: nat, Name: "POSTROUTING", Type: "nat", Hook: nft.Postrouting, Priority: 100},
	}
	var base []nft.Chain
	for _, hook := range []uint32{nft.Prerouting, nft.Input, nft.Output, nft.Postrouting} {
		base = append(base, legacy.Base(nat, hook))
	}
	if d := cmp.Diff(want, base); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got.Drops("PREROUTING") || !got.Drops("OUTPUT") {
		t.Error("the policies are wrong")
	}
	if _, err := got.Rules("NONE"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a chain that is not there: %v", err)
	}
}

// Rules for destinations that are nobody's concern are not kept; numbers stay.
func TestConcerns(t *testing.T) {
	got := table(t, hostport.IPv4)
	got.Concerns = func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.1") }
	for chain, want := range map[string][]uint64{"PREROUTING": {1, 2, 3, 4, 5, 6}, "KUBE-SERVICES": {3}} {
		rules, err := got.Rules(chain)
		if err != nil {
			t.Fatal(err)
		}
		var handles []uint64
		for _, r := range rules {
			handles = append(handles, r.Handle)
		}
		if d := cmp.Diff(want, handles); d != "" {
			t.Errorf("%s (-want +got):\n%s", chain, d)
		}
	}
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

// Whatever the kernel says, the decoder does not panic, and what it reads it reads whole.
func FuzzDecode(f *testing.F) {
	for _, family := range hostport.Families() {
		info, entries, _ := dump(f, family)
		f.Add(info, entries, family == hostport.IPv6)
	}
	f.Fuzz(func(_ *testing.T, info, entries []byte, ipv6 bool) {
		family := hostport.IPv4
		if ipv6 {
			family = hostport.IPv6
		}
		t, err := decode(family, info, entries)
		if err != nil {
			return
		}
		for _, c := range t.Chains() {
			_, _ = t.Rules(c)
		}
	})
}

// What is cut off or altered is an error, or at least no panic.
func TestDamaged(t *testing.T) {
	for _, f := range hostport.Families() {
		info, entries, _ := dump(t, f)
		for n := range entries {
			if _, err := decode(f, info, entries[:n]); !errors.Is(err, legacy.ErrMalformed) {
				t.Fatalf("%s: %d bytes are taken for whole: %v", f, n, err)
			}
		}
		const entry, underflow, forward = 36, 56, 8
		for n := range info[32:] {
			b := bytes.Clone(info)
			if b[32+n] ^= 0x10; (32+n-forward)&^3 == entry || (32+n-forward)&^3 == underflow {
				continue // table nat has nothing at that hook
			}
			if _, err := decode(f, b, entries); !errors.Is(err, legacy.ErrMalformed) {
				t.Errorf("%s: byte %d of the description does not matter: %v", f, 32+n, err)
			}
		}
		for n := range entries {
			b := bytes.Clone(entries)
			b[n] ^= 0xff
			if t, err := decode(f, info, b); err == nil {
				for _, c := range t.Chains() {
					_, _ = t.Rules(c)
				}
			}
		}
	}
}
