// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/fakeiptables"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
)

// node is one with rules of one flavour.
type node struct {
	t       *testing.T
	kernels map[hostport.Family]fakeiptables.Kernel
	// saves and restores are the runs of tools.
	saves, restores int
	// fails are errors of restores, by their number from 1; a tool may have done its
	// work all the same.
	fails map[int]error
	done  bool
	// native are tables that iptables cannot show, batches what was sent there.
	native  map[nft.Table]bool
	batches []*nft.Batch
	// tested are the scripts of Test, untested its error.
	tested   []string
	untested error
	// unreadable fails every reading.
	unreadable error
}

func newNode(t *testing.T) *node {
	n := &node{t: t, kernels: map[hostport.Family]fakeiptables.Kernel{}, fails: map[int]error{}, native: map[nft.Table]bool{}}
	for _, f := range hostport.Families() {
		n.kernels[f] = fakeiptables.New()
		n.kernels[f]["nat"]["KUBE-SERVICES"] = nil
		n.kernels[f]["nat"]["PREROUTING"] = []string{"-j KUBE-SERVICES"}
	}
	n.kernels[hostport.IPv4]["nat"]["POSTROUTING"] = []string{"-s 10.1.0.9/32 -j ACCEPT"}
	return n
}

func (n *node) Save(_ iptables.Flavour, f hostport.Family, table string) (*iptsave.Table, error) {
	n.saves++
	d, err := iptsave.Parse(n.kernels[f].Save())
	if err != nil {
		return nil, err
	}
	return d.Table(table)
}

func (n *node) Restore(_ iptables.Flavour, f hostport.Family, script string) error {
	n.restores++
	err := n.fails[n.restores]
	if err == nil || n.done {
		err = errors.Join(err, n.kernels[f].Restore(script))
	}
	return err
}

func (n *node) Test(_ iptables.Flavour, _ hostport.Family, script string) error {
	n.tested = append(n.tested, script)
	return n.untested
}

// tables are the rules as nf_tables has them.
func (n *node) tables(f hostport.Family) *xtrule.Tables {
	n.t.Helper()
	t, err := xtrule.Parse(n.kernels[f].Save(), f)
	if err != nil {
		n.t.Fatal(err)
	}
	return t
}

func (n *node) Chains(_ string, f hostport.Family, table string) ([]string, error) {
	return n.tables(f).Chains(nft.Table{Family: f.NFProto(), Name: table}), n.unreadable
}

func (n *node) Rules(_ string, t nft.Table, chain string) ([]nft.Rule, error) {
	f := hostport.IPv4
	if t.Family == nft.IPv6 {
		f = hostport.IPv6
	}
	return n.tables(f).Rules(t, chain)
}

func (n *node) options() Options {
	families := hostport.Families()
	return Options{Tools: n, Families: families[:], Within: hostport.Everywhere(), Open: func() Reader { return n },
		Sets:    func(hostport.Family) ([]ruleset.Set, error) { return nil, nil },
		SetName: func(uint16) (string, error) { return "", nil },
		HasSets: func(t nft.Table) (bool, error) { return n.native[t], nil },
		Batch:   func(b *nft.Batch) error { n.batches = append(n.batches, b); return nil },
	}
}

func (n *node) backend() *Backend { return New(iptables.NFT, n.options()) }

func (n *node) save() string {
	return n.kernels[hostport.IPv4].Save() + n.kernels[hostport.IPv6].Save()
}

func load(t *testing.T, b *Backend) *State {
	t.Helper()
	s, err := b.Load()
	if err != nil {
		t.Fatal(err)
	}
	return s.(*State)
}

// web is an attachment with port 80+n of both families.
func web(n int) hostport.Attachment {
	a := hostport.Attachment{
		Owner:    hostport.Owner{Network: "n", ContainerID: fmt.Sprint("c", n), IfName: "eth0"},
		Pods:     []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.1.0.%d/24", 9+n)), netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", 9+n))},
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")},
		SNAT:     true, Localhost: true, Link: "cni0",
	}
	for _, f := range hostport.Families() {
		a.Mappings = append(a.Mappings, hostport.Mapping{Family: f, Proto: hostport.TCP, HostPort: uint16(80 + n), ContainerPort: 8080})
	}
	return a
}

func opts() cmp.Options {
	return cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{}), cmpopts.EquateEmpty()}
}

// An attachment comes, is told again by the rules, and goes without a trace.
func TestRoundTrip(t *testing.T) {
	n := newNode(t)
	b, before, a := n.backend(), n.save(), web(0)
	have := load(t, b)
	if n.saves != 0 || len(have.Claims()) != 0 {
		t.Errorf("with nothing of ours %d tools ran: %v", n.saves, have.Claims())
	}
	if err := b.Apply(have, have.With(a)); err != nil {
		t.Fatal(err)
	}
	s := load(t, b)
	if lost := s.Missing(a); len(lost) > 0 || len(s.Misplaced()) > 0 {
		t.Errorf("lost %q, misplaced %q", lost, s.Misplaced())
	}
	got, ok := s.Recover(a.Owner.Key())
	got.Networks = a.Networks
	if diff := cmp.Diff(a, got, opts()); !ok || diff != "" {
		t.Errorf("recovered %v (-want +got)\n%s", ok, diff)
	}
	claims := s.Claims()
	if len(claims) != 2 {
		t.Fatalf("claims %+v", claims)
	}
	want := hostport.Claim{Owner: a.Owner, Key: a.Owner.Key(), Backend: "iptables-nft", Where: "iptables-nft table nat", Priority: -100,
		Mapping: a.Mappings[0], Target: netip.MustParseAddrPort("10.1.0.9:8080")}
	if got := claims[0]; got.Owner != want.Owner || got.Mapping != want.Mapping || got.Target != want.Target || got.Backend != want.Backend ||
		got.Where != want.Where || got.Priority != want.Priority || got.Packets != 0 || got.Key != want.Key || got.Foreign || got.Part {
		t.Errorf("claim %+v, want %+v", got, want)
	}
	n.restores = 0
	if err := b.Apply(s, s); err != nil || n.restores != 0 {
		t.Errorf("a State applied to itself: %v, %d restores", err, n.restores)
	}
	if err := b.Apply(s, s.Without(a.Owner.Key())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.save()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What is lost is named with the backend.
func TestMissing(t *testing.T) {
	n := newNode(t)
	b := n.backend()
	if err := b.Apply(load(t, b), load(t, b).With(web(0))); err != nil {
		t.Fatal(err)
	}
	n.kernels[hostport.IPv4]["nat"]["OUTPUT"] = nil
	n.kernels[hostport.IPv6]["nat"]["PREROUTING"] = append(n.kernels[hostport.IPv6]["nat"]["PREROUTING"], "-j KUBE-SERVICES")
	want := []string{
		"iptables-nft: IPv4 table nat: the jump from OUTPUT to PORTGUARD-HOSTPORTS is missing",
		"iptables-nft: IPv6 table nat: the jump from PREROUTING to PORTGUARD-INCOMING stands before KUBE-SERVICES",
	}
	if diff := cmp.Diff(want, load(t, b).Missing(web(0))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want = []string{
		"iptables-nft (IPv4): table nat: the jump from OUTPUT to PORTGUARD-HOSTPORTS is missing",
		"iptables-nft (IPv6): table nat: the jump from PREROUTING to PORTGUARD-INCOMING stands before KUBE-SERVICES",
	}
	if diff := cmp.Diff(want, load(t, b).Misplaced()); diff != "" {
		t.Errorf("misplaced (-want +got)\n%s", diff)
	}
}

// When a family fails, at whatever point, everything is as it was, or the error says so.
func TestUndo(t *testing.T) {
	broken := errors.New("broken")
	for _, first := range []bool{true, false} {
		for _, tt := range []struct {
			name  string
			fails map[int]error
			done  bool
			undo  bool
		}{
			{"the first family fails", map[int]error{1: broken}, false, true},
			{"the first family fails after its work", map[int]error{1: broken}, true, true},
			{"the second family fails", map[int]error{2: broken}, false, true},
			{"the second family fails after its work", map[int]error{2: broken}, true, true},
			{"it cannot be undone", map[int]error{2: broken, 3: broken}, false, false},
		} {
			t.Run(fmt.Sprint(first, " ", tt.name), func(t *testing.T) {
				n := newNode(t)
				b := n.backend()
				if !first {
					if err := b.Apply(load(t, b), load(t, b).With(web(1))); err != nil {
						t.Fatal(err)
					}
				}
				before, have := n.save(), load(t, b)
				n.restores, n.fails, n.done = 0, tt.fails, tt.done
				err := b.Apply(have, have.With(web(0)))
				if !errors.Is(err, broken) || errors.Is(err, backend.ErrNotUndone) == tt.undo {
					t.Errorf("error %v", err)
				}
				if !strings.HasPrefix(err.Error(), "could not change the iptables-nft rules (IPv") {
					t.Errorf("error %v", err)
				}
				if same := n.save() == before; same != tt.undo {
					t.Errorf("everything as it was: %v\n%s", same, n.save())
				}
			})
		}
	}
}

// A kernel that cannot look for sockets has the rule that keeps the node's connections in a
// form that keeps more; any other failure stays one.
func TestWithoutSockets(t *testing.T) {
	for _, missing := range []bool{true, false} {
		n := newNode(t)
		n.fails = map[int]error{1: errors.New("line 9 failed"), 3: fmt.Errorf("line 9 failed%w", iptables.ErrGone)}
		if missing {
			n.fails[1] = n.fails[3]
		}
		b, a := n.backend(), web(0)
		err := b.Apply(load(t, b), load(t, b).With(a))
		if !missing {
			if err == nil || n.restores != 1 {
				t.Errorf("error %v after %d tools", err, n.restores)
			}
			continue
		}
		rules := n.save()
		if err != nil || strings.Contains(rules, "-m socket") || strings.Count(rules, "! --tcp-flags FIN,SYN,RST,ACK SYN -m comment --comment portguard -j RETURN") != 2 {
			t.Errorf("%v\n%s", err, rules)
		}
		s := load(t, b)
		if lost := s.Missing(a); len(lost) > 0 {
			t.Errorf("lost %q", lost)
		}
		if err := b.Apply(s, s.With(a)); err != nil || n.restores != 4 {
			t.Errorf("%v, and %d tools ran for what is there", err, n.restores)
		}
		n.untested = fmt.Errorf("line 9 failed%w", iptables.ErrGone)
		if err := b.Try(s, s.With(web(1))); err == nil {
			t.Error("whatever fails is taken for a match on sockets")
		}
	}
}

// A table that iptables cannot show takes nobody, and what cannot be read says so.
func TestWhatCannotBeShown(t *testing.T) {
	n := newNode(t)
	b := n.backend()
	n.native[nft.Table{Family: nft.IPv6, Name: "nat"}] = true
	before := n.save()
	have := load(t, b)
	err := b.Apply(have, have.With(web(0)))
	if !errors.Is(err, iptsave.ErrIncompatible) || !strings.HasPrefix(err.Error(), "could not read the iptables-nft rules (IPv6): table nat:") {
		t.Errorf("error %v", err)
	}
	if n.save() != before || n.restores != 0 {
		t.Errorf("something was changed\n%s", n.save())
	}
	only4 := web(0)
	only4.Mappings = only4.Mappings[:1]
	if err := b.Apply(have, have.With(only4)); err != nil {
		t.Errorf("IPv4 alone: %v", err)
	}
	n.unreadable = errors.New("broken")
	if _, err := b.Load(); !errors.Is(err, n.unreadable) || !strings.HasPrefix(err.Error(), "could not read the iptables-nft rules (IPv4): ") {
		t.Errorf("error %v", err)
	}
}

// What is ours goes although iptables cannot show it any more.
func TestDelBesideNativeRules(t *testing.T) {
	n := newNode(t)
	b, a, other := n.backend(), web(0), web(1)
	have := load(t, b)
	if err := b.Apply(have, have.With(a).With(other)); err != nil {
		t.Fatal(err)
	}
	n.native[nft.Table{Family: nft.IPv4, Name: "nat"}] = true
	have = load(t, b)
	if lost := have.Missing(a); len(lost) != 1 || !strings.Contains(lost[0], "native nftables rules") {
		t.Errorf("lost %q", lost)
	}
	if err := b.Apply(have, have.With(web(2))); !errors.Is(err, iptsave.ErrIncompatible) || len(n.batches) > 0 {
		t.Errorf("an ADD: %v", err)
	}
	if err := b.Apply(have, have.Without(a.Owner.Key())); err != nil || len(n.batches) != 2 { // rules, then chains
		t.Fatalf("%v, %d batches", err, len(n.batches))
	}
	one := string(n.batches[0].Encode(true)) + string(n.batches[1].Encode(true))
	have = load(t, b) // IPv4 is as it was: nobody has done what the batch says
	if err := b.Apply(have, have.Without(a.Owner.Key(), other.Owner.Key())); err != nil || len(n.batches) != 4 {
		t.Fatalf("%v, %d batches", err, len(n.batches))
	}
	both := string(n.batches[2].Encode(true)) + string(n.batches[3].Encode(true))
	for _, tt := range []struct {
		batch, what string
		want        bool
	}{
		{one, "PGD-" + a.Owner.Key(), true}, {one, "PGM-" + a.Owner.Key(), true}, {one, other.Owner.Key(), false}, {one, "OUTPUT", false},
		{both, "PGD-" + other.Owner.Key(), true}, {both, "OUTPUT", true}, {both, "POSTROUTING", true},
	} {
		if strings.Contains(tt.batch, tt.what) != tt.want {
			t.Errorf("%s removed: %v", tt.what, !tt.want)
		}
	}
	if _, there := n.kernels[hostport.IPv6]["nat"]["PGD-"+a.Owner.Key()]; there {
		t.Error("IPv6 stays")
	}
}

// Of some conditions only iptables knows the words: they are put back with its words.
func TestUndoOfConditions(t *testing.T) {
	broken := errors.New("broken")
	n := newNode(t)
	b, a := n.backend(), web(0)
	a.ConditionsV4 = []string{"-m", "mac", "--mac-source", "02:00:00:00:00:01"}
	if err := b.Apply(load(t, b), load(t, b).With(a)); err != nil {
		t.Fatal(err)
	}
	have, before := load(t, b), n.save()
	if lost := have.Missing(a); len(lost) > 0 || n.saves > 0 {
		t.Errorf("lost %q, %d saves", lost, n.saves)
	}
	n.restores, n.fails = 0, map[int]error{2: broken}
	if err := b.Apply(have, have.Without(a.Owner.Key())); !errors.Is(err, broken) || errors.Is(err, backend.ErrNotUndone) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(before, n.save()); diff != "" || n.saves != 1 {
		t.Errorf("%d saves (-want +got)\n%s", n.saves, diff)
	}
}

// Nobody else's chain is ours.
func TestOwns(t *testing.T) {
	b := newNode(t).backend()
	for _, tt := range []struct {
		t     nft.Table
		chain string
		want  bool
	}{
		{nft.Table{Family: nft.IPv4, Name: "nat"}, "PORTGUARD-HOSTPORTS", true},
		{nft.Table{Family: nft.IPv6, Name: "nat"}, "PGM-" + web(0).Owner.Key(), true},
		{nft.Table{Family: nft.IPv4, Name: "mangle"}, ruleset.Guard, true},
		{nft.Table{}, "PORTGUARD-MASQ", true},
		{nft.Table{Family: nft.Inet, Name: "nat"}, "PORTGUARD-HOSTPORTS", false},
		{nft.Table{Family: nft.IPv4, Name: "filter"}, "PORTGUARD-HOSTPORTS", false},
		{nft.Table{Family: nft.IPv4, Name: "nat"}, "PORTGUARD-X", false},
		{nft.Table{}, "KUBE-SERVICES", false},
	} {
		if got := b.Owns(tt.t, tt.chain); got != tt.want {
			t.Errorf("%v %s: %v", tt.t, tt.chain, got)
		}
	}
}

// What is tried is what would be done, and the tool commits nothing of it.
func TestTry(t *testing.T) {
	n := newNode(t)
	for _, fl := range iptables.Flavours() {
		b := New(fl, n.options())
		have := load(t, b)
		n.tested, n.untested = nil, nil
		if err := b.Try(have, have.With(web(0))); err != nil || len(n.tested) == 0 || !strings.Contains(n.tested[0], "-j DNAT") || n.restores > 0 {
			t.Errorf("%s: %v, tested %q, %d restores", fl, err, n.tested, n.restores)
		}
		n.untested = iptables.ErrNoTool
		if err := b.Try(have, have.With(web(0))); !errors.Is(err, iptables.ErrNoTool) {
			t.Errorf("%s without the tool: %v", fl, err)
		}
	}
	for _, f := range hostport.Families() {
		delete(n.kernels[f], "nat")
	}
	b := New(iptables.Legacy, n.options())
	have := load(t, b)
	n.tested, n.untested = nil, nil
	if err := b.Try(have, have.With(web(0))); err != nil || len(n.tested) == 0 || n.tested[0] != "" {
		t.Errorf("the tool would make the table: %v, %q", err, n.tested)
	}
}
