// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/rules"
)

// onKernel are the options for the rules of this network namespace.
func onKernel(t *testing.T, fl iptables.Flavour) Options {
	t.Helper()
	tools := &iptables.Tools{Wait: 5 * time.Second}
	if err := tools.Test(fl, hostport.IPv6, ""); err != nil {
		need.Skip(t, err)
	}
	return kernel(tools)
}

// kernel are the options for the network namespace of the calling thread.
func kernel(tools *iptables.Tools) Options {
	families := hostport.Families()
	return Options{Tools: tools, Families: families[:], Within: hostport.Everywhere(), Open: func() Reader { return rules.New(rules.Options{Proc: "/proc"}) },
		Sets:    func(hostport.Family) ([]ruleset.Set, error) { return nil, nil },
		SetName: host.Sets{}.SetName,
		All:     nftconn.AllRules,
		HasSets: func(t nft.Table) (bool, error) {
			sets, err := nftconn.NewReader().Sets(t)
			return len(sets) > 0, err
		},
		Batch: nftconn.Open().Apply,
	}
}

// With the real tools an attachment of each kind comes, is as it must be, is recovered,
// and goes without a trace.
func TestRealTools(t *testing.T) {
	for _, fl := range iptables.Flavours() {
		t.Run(string(fl), func(t *testing.T) {
			need.Netns(t)
			b := New(fl, onKernel(t, fl))
			a, odd := web(0), web(1)
			odd.Mappings[0].HostIP = odd.Networks[0].Addr().Next()
			odd.ConditionsV4 = []string{"!", "-s", "198.51.100.0/24", "-m", "recent", "--rcheck", "--name", "x"}
			odd.Carves = []hostport.Carve{{Addr: odd.Networks[1].Addr().Next(), Proto: hostport.TCP, Port: 81}}
			odd.Mappings = append(odd.Mappings, hostport.Mapping{Family: hostport.IPv6, Proto: hostport.UDP, HostPort: 53, ContainerPort: 53})
			odd.Flows = []hostport.Flow{{Local: netip.MustParseAddrPort("[2001:db8::1]:53"), Peer: netip.MustParseAddrPort("[2001:db8::9]:5300")}}
			if err := b.Apply(load(t, b), load(t, b).With(a)); err != nil {
				t.Fatal(err)
			}
			before := shown(t, b)
			for range 2 {
				if err := b.Apply(load(t, b), load(t, b).With(odd)); err != nil {
					t.Fatal(err)
				}
				s := load(t, b)
				if lost := append(s.Missing(a), s.Missing(odd)...); len(lost) > 0 || len(s.Misplaced()) > 0 {
					t.Errorf("lost %q, misplaced %q", lost, s.Misplaced())
				}
				got, _ := s.Recover(odd.Owner.Key())
				got.Networks, got.ConditionsV4 = odd.Networks, odd.ConditionsV4
				if diff := cmp.Diff(odd, got, opts()); diff != "" {
					t.Errorf("recovered (-want +got)\n%s", diff)
				}
			}
			if err := b.Apply(load(t, b), load(t, b).Without(odd.Owner.Key())); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, shown(t, b)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if err := b.Apply(load(t, b), load(t, b).Without(a.Owner.Key())); err != nil || strings.Contains(shown(t, b), "PORTGUARD") {
				t.Errorf("%v, left:\n%s", err, shown(t, b))
			}
		})
	}
}

// A change that fails, or is undone by what comes behind it, leaves no table that was not there,
// unless somebody else has put something there meanwhile.
func TestRealUndoLeavesNoTable(t *testing.T) {
	need.Netns(t)
	b := New(iptables.NFT, onKernel(t, iptables.NFT))
	tables := func(want bool, when string) {
		t.Helper()
		for _, f := range hostport.Families() {
			if there, err := rules.New(rules.Options{Proc: "/proc"}).Present("nft", f); err != nil || there != want {
				t.Errorf("%s: %s: there is a table: %v, %v", when, f, there, err)
			}
		}
	}
	bad := web(0)
	bad.ConditionsV4, bad.ConditionsV6 = []string{"-s", "192.0.2.2"}, []string{"-s", "nope.invalid"}
	have := load(t, b)
	if err := b.Apply(have, have.With(bad)); err == nil {
		t.Error("a name that is none is taken")
	}
	tables(false, "the second family failed")
	with := have.With(web(0))
	for _, way := range [][2]backend.State{{have, with}, {with, have}} {
		if err := b.Apply(way[0], way[1]); err != nil {
			t.Fatal(err)
		}
		tables(way[1] == with, "there and back")
	}
	if err := b.Apply(have, with); err != nil {
		t.Fatal(err)
	}
	for _, f := range hostport.Families() {
		if err := b.o.Tools.Restore(iptables.NFT, f, "*nat\n-A OUTPUT -j ACCEPT\nCOMMIT\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Apply(with, have); err != nil || strings.Count(shown(t, b), "OUTPUT -j ACCEPT") != 2 {
		t.Errorf("%v, left:\n%s", err, shown(t, b))
	}
	tables(true, "somebody else came")
}

// shown is what iptables-save prints of what is ours.
func shown(t *testing.T, b *Backend) string {
	t.Helper()
	var out []string
	for _, f := range b.o.Families {
		for _, table := range []string{"mangle", "nat"} {
			if names, err := b.o.Open().Chains(string(b.flavour), f, table); err != nil {
				t.Fatal(err)
			} else if len(names) == 0 {
				continue
			}
			got, err := b.o.Tools.Save(b.flavour, f, table)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range got.Chains() {
				for _, r := range c.Rules {
					out = append(out, c.Name+" "+r.Text)
				}
			}
		}
	}
	return strings.Join(out, "\n")
}

// A native rule comes into table nat after the attachments: they are told as nf_tables
// has them, and go.
func TestRealNativeRules(t *testing.T) {
	need.Netns(t)
	b := New(iptables.NFT, onKernel(t, iptables.NFT))
	if err := b.Apply(load(t, b), load(t, b).With(web(0)).With(web(1))); err != nil {
		t.Fatal(err)
	}
	before := load(t, b).Claims()
	addSet(t, nft.IPv4)
	have := load(t, b)
	if diff := cmp.Diff(before, have.Claims(), opts()); diff != "" {
		t.Errorf("claims (-want +got)\n%s", diff)
	}
	if err := b.Apply(have, have.With(web(2))); err == nil {
		t.Error("somebody was added beside native rules")
	}
	for _, n := range []int{0, 1} {
		have = load(t, b)
		if err := b.Apply(have, have.Without(web(n).Owner.Key())); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range hostport.Families() {
		names, err := b.o.Open().Chains("nft", f, "nat")
		if i := slices.IndexFunc(names, func(c string) bool { return b.Owns(nft.Table{}, c) }); err != nil || i >= 0 {
			t.Errorf("%v, %s has %q", err, f, names)
		}
	}
	have = load(t, b)
	if err := b.Apply(have, have.With(web(2))); err == nil {
		t.Error("somebody was added to a table that iptables cannot show")
	}
}

// addSet adds a set to table nat, which iptables-nft cannot show.
func addSet(t *testing.T, family uint8) {
	t.Helper()
	table := nft.Table{Family: family, Name: "nat"}
	b := &nft.Batch{}
	b.AddSet(nft.Set{Table: table, Name: "x", KeyLen: 2, Flags: 0}, 13, 0, 0, []int{2})
	if err := nftconn.Open().Apply(b); err != nil {
		t.Fatal(err)
	}
}

func TestRealGuard(t *testing.T) {
	for _, fl := range iptables.Flavours() {
		t.Run(string(fl), func(t *testing.T) {
			need.Netns(t)
			g := NewGuard(fl, onKernel(t, fl))
			for _, want := range []map[string]localnet.Link{links(), nil} {
				have, err := g.Load()
				if err == nil {
					err = g.Apply(have, want)
				}
				if err != nil {
					t.Fatal(err)
				}
				have, err = g.Load()
				if diff := cmp.Diff(want, have, opts()); err != nil || diff != "" {
					t.Errorf("%v (-want +got)\n%s", err, diff)
				}
			}
		})
	}
}
