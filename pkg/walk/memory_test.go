// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// dynset puts what register 1 holds into a set, or takes it out.
func dynset(set string, op uint32) exprs {
	return with(ex("dynset", map[uint16]uint32{3: op, 4: 1}), 1, zstr(set))
}

// What rules note of packets in a set, later rules find there, whatever the set has now.
func TestMemory(t *testing.T) {
	const adds, deletes = 0, 2
	saddr, drop := load(1, 12, 4), ends1(nft.Drop, "")
	note := and(saddr, dynset("grown", adds))
	limited, full := and(saddr, with(dynset("grown", adds), 7, nil)), and(saddr, with(dynset("grown", adds), 9, be32(1)))
	for _, tt := range []struct {
		name  string
		rules []exprs
		want  string
	}{
		{"nobody is in it", []exprs{and(saddr, lookIn("grown", 0), redir())}, ""},
		{"who was added is", []exprs{note, and(saddr, lookIn("grown", 0), drop), redir()}, "unknown redirect via pre; end yes drop via pre"},
		{"and no other", []exprs{note, and(saddr, lookIn("grown", 1), drop), redir()}, "yes redirect via pre; end unknown drop via pre"},
		{"by another address perhaps", []exprs{note, and(load(1, 16, 4), lookIn("grown", 0), redir())}, "some redirect via pre"},
		{"another set", []exprs{note, and(saddr, lookIn("none", 0), redir())}, ""},
		{"what a map has for them is open", []exprs{and(saddr, dynset("map", adds)), and(saddr, lookMap("map", 2), with(is(1), 1, be32(2)), redir()), drop}, "some redirect via pre; end yes drop via pre"},
		{"who was taken out may be there again", []exprs{note, and(saddr, dynset("grown", deletes)), and(saddr, lookIn("grown", 0), redir())}, "some redirect via pre"},
		{"a limit may end the rule", []exprs{and(limited, drop), redir()}, "yes redirect via pre; end some drop via pre"},
		{"that a set is full is not followed", []exprs{and(note, drop), redir()}, "end yes drop via pre"},
		{"or goes on only then", []exprs{and(full, drop), redir()}, "yes redirect via pre; end some drop via pre"},
		{"a counter always goes on", []exprs{and(ex("objref", map[uint16]uint32{1: 1}), redir())}, "yes redirect via pre"},
		{"a quota does not", []exprs{and(ex("objref", map[uint16]uint32{1: 2}), redir())}, "some redirect via pre"},
		{"what a map does not hold ends it", []exprs{and(saddr, with(ex("objref", map[uint16]uint32{3: 1}), 4, zstr("none")), redir())}, ""},
		{"nor does what a map has", []exprs{and(ex("objref", map[uint16]uint32{3: 1}), redir())}, "some redirect via pre"},
	} {
		sets := map[string]fakeSet{"grown": {fields: []int{4}}, "none": {fields: []int{4}}, "map": {fields: []int{4}}}
		src := &ruleset{family: nft.Inet, chains: map[string][]nft.Rule{"pre": rulesOf(tt.rules...)}, sets: sets}
		if d := cmp.Diff(tt.want, say(src.walk(t, packet4(Prerouting)))); d != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, d)
		}
	}
}

// setTarget is the target SET with sets by index, as struct xt_set_info_target_v1.
func setTarget(add, del uint16, flags byte) exprs {
	b := append(binary.NativeEndian.AppendUint16(nil, add), 1, flags)
	b = append(binary.NativeEndian.AppendUint16(b, del), 1, flags)
	return exprs{xt.TargetExpr(xt.Info{Name: "SET", Rev: 1, Data: b})}
}

// recent is struct xt_recent_mtinfo with a name.
func recent(checks, hits byte, name string) exprs {
	b := make([]byte, 212)
	b[4], b[8] = hits, checks
	copy(b[10:], name)
	return exprs{xt.MatchExpr(xt.Info{Name: "recent", Data: b})}
}

// So do targets and matches of xtables.
func TestMemoryOfXtables(t *testing.T) {
	const set, check, remove = 2, 1, 8
	tables := nat(t, hostport.IPv4, "PREROUTING -m set --match-set NONE src -j ACCEPT", "PREROUTING -m set --match-set NODES src -j ACCEPT")
	none := indexOf(t, tables, "NONE")
	asked := func(flags byte) exprs {
		e := xt.MatchExpr(xt.Info{Name: "set", Rev: 1, Data: append(binary.NativeEndian.AppendUint16(nil, none), 1, flags, 0, 0, 0, 0)})
		return exprs{e}
	}
	for _, tt := range []struct {
		name  string
		rules []exprs
		want  string
	}{
		{"who was added is in it", []exprs{setTarget(none, 65535, 2), and(asked(2), redir())}, "yes redirect via pre"},
		{"not in the other one", []exprs{setTarget(none, 65535, 2), and(asked(3), redir())}, "unknown redirect via pre"},
		{"by the other address perhaps", []exprs{setTarget(none, 65535, 0), and(asked(2), redir())}, "some redirect via pre"},
		{"nor who was taken out", []exprs{setTarget(65535, none, 2), and(asked(2), redir())}, "some redirect via pre"},
		{"nobody", []exprs{and(asked(2), redir())}, ""},
		{"who was put into a list meets the match", []exprs{and(recent(set, 0, "x"), redir())}, "yes redirect via pre"},
		{"and was seen", []exprs{recent(set, 0, "x"), and(recent(check, 0, "x"), redir())}, "yes redirect via pre"},
		{"not twice", []exprs{recent(set, 0, "x"), and(recent(check, 2, "x"), redir())}, "some redirect via pre"},
		{"nor by another list", []exprs{recent(set, 0, "x"), and(recent(check, 0, "y"), redir())}, "some redirect via pre"},
		{"nor when it was taken out", []exprs{recent(set, 0, "x"), recent(remove, 0, "x"), and(recent(check, 0, "x"), redir())}, "some redirect via pre"},
	} {
		src := &ruleset{family: nft.IPv4, chains: map[string][]nft.Rule{"pre": rulesOf(tt.rules...)}}
		w := New(src, nft.Table{Family: nft.IPv4, Name: "t"}, hostport.IPv4, Options{Sets: ipsets{tables, map[string][]string{"NONE": {"hash:ip"}}, nil}})
		r, err := w.Walk("pre", packet4(Prerouting))
		if d := cmp.Diff(tt.want, say(r)); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", tt.name, err, d)
		}
	}
}

func indexOf(t *testing.T, tables *xtrule.Tables, name string) uint16 {
	t.Helper()
	for i := range uint16(255) {
		if n, err := tables.SetName(i); err == nil && n == name {
			return i
		}
	}
	t.Fatalf("no set %s", name)
	return 0
}

// A name that ends as another one does is none of the other.
func TestMemoryOfNames(t *testing.T) {
	m := memory("").with("ab", "x").with("b", "x").with("b", "xy").with("b", "y")
	for _, by := range []string{"x", "xy", "y"} {
		if m.in("b", by) != Yes {
			t.Errorf("%q is not in b of %q", by, m)
		}
	}
	if m.in("a", "x") != No || m.without("b").in("ab", "x") != Yes {
		t.Errorf("%q", m)
	}
}

// Of too many packets that rules noted in different sets each is one that may be in all of them,
// and none is lost.
func TestHullOfMemories(t *testing.T) {
	var s Space
	for i := range 3 * maxBoxes {
		b := packet4(Prerouting).Start()[0]
		b.memory = memory("").with("all", "x").with(fmt.Sprint("set", i), "x")
		s = append(s, b)
	}
	got := s.bounded(true)
	if len(got) != 1 || got[0].memory.in("all", "x") == No || got[0].memory.in("set7", "x") != Some || got[0].memory.in("other", "x") != No {
		t.Errorf("got %v", got)
	}
	if again := packet4(Prerouting).Start().Remembered(s); len(again) != 1 || again[0].memory.in(fmt.Sprint("set", 3*maxBoxes-1), "x") != Some {
		t.Errorf("the next connection: %v", again)
	}
}

// The next connection of somebody whom rules remember may find its members gone.
func TestRemembered(t *testing.T) {
	start := packet4(Prerouting).Start()
	if got := start.Remembered(start); len(got) > 0 {
		t.Errorf("nobody noted anything, and there are %v", got)
	}
	after := slices.Clone(start)
	after[0].memory = after[0].memory.with("a", "x").with("a", "x").with("b", "y").without("b")
	got := start.Remembered(after)
	if len(got) != 1 || got[0].memory.in("a", "x") != Some || got[0].memory.in("b", "y") != Some || got[0].memory.in("c", "x") != No {
		t.Errorf("got %v", got)
	}
}
