// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nfttable"
)

// A stranger is a table of our name with the given sets, and nothing else.
type stranger struct {
	nfttable.Source
	sets []nft.Set
}

func (stranger) TableFlags(nft.Table) (uint32, bool, error) { return 0, true, nil }

func (s stranger) Sets(nft.Table) ([]nft.Set, error) { return s.sets, nil }

func strange(t *testing.T, sets ...nft.Set) *State {
	t.Helper()
	table, err := Spec().Read(stranger{sets: sets})
	if err != nil {
		t.Fatal(err)
	}
	return &State{Table: table}
}

// without returns a table without the elements of a set, and with others.
func without(s backend.State, set string, others ...nfttable.Element) *State {
	t := table(s).Without(func(e nfttable.Element) bool { return e.Set == set })
	return &State{Table: t.With(others)}
}

// spoiled returns a table of which parts are broken.
func spoiled(s backend.State, parts ...string) *State {
	t := *table(s)
	t.Broken = parts
	return &State{Table: &t}
}

// Missing says what is lost.
func TestMissing(t *testing.T) {
	a := web("web", func(a *hostport.Attachment) { a.ConditionsV6 = []string{"ip6 saddr != 2001:db8::/32"} })
	port := string(portOf(a.Mappings[0]))
	c, _ := conditions(a)
	full := absent().With(a)
	said := golden.New(t)
	said.Section("what CHECK finds lost in nftables, as the plugin puts it behind whose hostPorts it is")
	for _, tt := range []struct {
		says string
		s    *State
	}{
		{"table inet portguard is missing", absent()},
		{"chain output is not as installed", spoiled(full, "chain output")},
		{`set ports4 lacks the element "tcp . 8080`, without(full, "ports4")},
		{"set links lacks the element", without(full, "links")},
		{"10.9.9.9", without(full, "localhost", nfttable.Element{Set: "localhost", From: port, Comment: a.Owner.Tag(),
			Value: nfttable.Join(nfttable.AddrKey(addr("10.9.9.9")), nfttable.PortKey(80))})},
		{"is missing", &State{Table: table(full).Without(func(nfttable.Element) bool { return false }, chainPrefix(""))}},
		{"does not have the rules of ADD", &State{Table: table(full).With(nil, nfttable.Conditions{Name: c.Name})}},
		{"set own4 is empty", &State{Table: table(full), Within: map[hostport.Family]addrset.Set{v4: addrset.All(true)}}},
		{"nft delete table inet portguard", strange(t, nft.Set{Name: "ports4", KeyLen: 1})},
		{"nft delete table inet portguard", strange(t)},
	} {
		lost := tt.s.Missing(a)
		if len(lost) != 1 || !strings.Contains(lost[0], tt.says) {
			t.Errorf("lost is %q, want %q", lost, tt.says)
		}
		for _, l := range lost {
			said.Add("110", l)
		}
	}
	said.Section("conditions of which nft made a statement")
	if err := Meant(table(full), table(full)); err != nil {
		t.Error(err)
	}
	made := nfttable.Conditions{Name: c.Name, Shape: []string{nfttable.Returns, "dynset"}}
	said.AddError("111", Meant(table(full), table(full).With(nil, made)))
	said.Check(*update)
	only4 := web("web", ports(a.Mappings[0]))
	if lost := spoiled(absent().With(only4), "chain hostports6", "set spared6").Missing(only4); len(lost) > 0 {
		t.Errorf("what is broken of IPv6 matters to IPv4: %q", lost)
	}
	if lost := absent().Missing(web("web", ports())); len(lost) > 0 {
		t.Errorf("who has nothing misses %q", lost)
	}
}

// A table that is not ours holds nothing of ours, stops no DEL, and cannot be used.
func TestStranger(t *testing.T) {
	s, a := strange(t), web("web")
	if s.Stranger() == "" || len(s.Claims()) > 0 || len(s.Misplaced()) > 0 {
		t.Errorf("stranger %q, claims %v, broken %v", s.Stranger(), s.Claims(), s.Misplaced())
	}
	if _, has := s.Recover(a.Owner.Key()); has {
		t.Error("something is recovered")
	}
	if !plan(s, s.Without(a.Owner.Key())).Empty() {
		t.Error("Without changes it")
	}
	if plan(s, s.With(a)).Empty() {
		t.Error("With changes nothing")
	}
	if ours := absent(); ours.Stranger() != "" || absent().With(a).(*State).Stranger() != "" {
		t.Error("ours is a stranger's")
	}
}

// What is broken is mended by the next With, and Without leaves it.
func TestMending(t *testing.T) {
	one, two := web("one"), web("two", ports(on(v4, "", udp, 9, 9)))
	s := spoiled(absent().With(one).With(two), "chain output")
	if len(s.Misplaced()) != 1 || len(table(s.Without(two.Owner.Key())).Broken) != 1 || len(table(s.With(two)).Broken) != 0 {
		t.Errorf("broken: %v", s.Misplaced())
	}
	if plan(s, s.With(two)).Empty() || !plan(s, s).Empty() {
		t.Error("a plan to mend is empty, or one to stay is not")
	}
	c := web("c", func(a *hostport.Attachment) { a.ConditionsV4 = []string{"ip saddr 192.0.2.2"} })
	chain, _ := conditions(c)
	emptied := &State{Table: table(absent().With(c)).With(nil, nfttable.Conditions{Name: chain.Name})}
	if p := plan(emptied, emptied.With(c)); !strings.Contains(p.Script, "flush chain inet portguard "+chain.Name) {
		t.Errorf("a chain that somebody emptied is not made anew: %q", p.Script)
	}
}

func TestOwns(t *testing.T) {
	mine, guard := Table(), GuardTable()
	for name, tt := range map[string]struct {
		table nft.Table
		chain string
		want  bool
	}{
		"a base chain":            {mine, "prerouting", true},
		"a shared chain":          {mine, "hostports4", true},
		"one with conditions":     {mine, "if-KEY-00000000", true},
		"the guard's":             {guard, "gate", true},
		"a stranger's in ours":    {mine, "pre", false},
		"ours in another table":   {nft.Table{Family: nft.IPv4, Name: "portguard"}, "prerouting", false},
		"the guard's in mappings": {mine, "gate", false},
		"any table":               {nft.Table{}, "prerouting", false},
	} {
		if got := Spec().Owns(tt.table, tt.chain) || GuardSpec().Owns(tt.table, tt.chain); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
