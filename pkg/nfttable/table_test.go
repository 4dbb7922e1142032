// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// small is a table with a map, a set of intervals, a base chain and a chain it jumps to.
func small() Spec {
	t := nft.Table{Family: nft.Inet, Name: "small"}
	accept := []nft.Expr{{Name: "masq"}}
	return Spec{Table: t, Prefix: "if-",
		Sets: []Set{
			{Name: "to", Key: []Type{Proto, Service}, Value: []Type{Addr4, Service}},
			{Name: "left", Key: []Type{IfName, Addr4}, Intervals: true},
			{Name: "lead", Key: []Type{Service}, Verdicts: true},
		},
		Chains: []Chain{
			{Chain: nft.Chain{Table: t, Name: "inner"}, Rules: [][]nft.Expr{accept, accept}},
			{Chain: nft.Chain{Table: t, Name: "pre", Type: "nat", Hook: nft.Prerouting, Priority: -95}, Rules: [][]nft.Expr{accept}},
		}}
}

func tag(id string) string {
	return hostport.Owner{Network: "net", ContainerID: id, IfName: "eth0"}.Tag()
}

func to(id string, port uint16) Element {
	return Element{Set: "to", From: Join(ProtoKey(hostport.TCP), PortKey(port)), Comment: tag(id),
		Value: Join(AddrKey(netip.MustParseAddr("10.88.0.5")), PortKey(80))}
}

func left(prefix string) Element {
	from, last := Ends(netip.MustParsePrefix(prefix))
	return Element{Set: "left", From: Join(LinkKey("eth0"), from), To: Join(LinkKey("eth0"), last)}
}

func all(Element) bool { return true }

func texts(t *Table) []string {
	var out []string
	for _, e := range t.Elements(all) {
		out = append(out, e.Set+": "+t.Spec.Text(e))
	}
	return out
}

// Elements are written as nft writes them.
func TestText(t *testing.T) {
	s := small()
	for want, e := range map[string]Element{
		`tcp . 80 counter comment "portguard net a eth0" : 10.88.0.5 . 80`: to("a", 80),
		`"eth0" . 10.0.0.0/8`:        left("10.0.0.0/8"),
		`"eth0" . 10.0.0.1`:          left("10.0.0.1/32"),
		`"eth0" . 10.0.0.1-10.0.0.5`: {Set: "left", From: Join(LinkKey("eth0"), []byte{10, 0, 0, 1}), To: Join(LinkKey("eth0"), []byte{10, 0, 0, 5})},
		`80 : goto if-A`:             {Set: "lead", From: Join(PortKey(80)), Goto: "if-A"},
	} {
		if got := s.Text(e); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A source is what nf_tables has: a table, or what it should be like.
type source struct {
	flags  uint32
	absent bool
	sets   []nft.Set
	rules  map[string][]nft.Rule
	chains map[string]nft.Chain
	elems  map[string][]nft.Element
	err    error
}

// sound is one as the Spec says, with an element.
func sound() *source {
	s := &source{rules: map[string][]nft.Rule{}, chains: map[string]nft.Chain{}, elems: map[string][]nft.Element{}}
	for _, x := range small().Sets {
		s.sets = append(s.sets, x.in(small().Table))
	}
	for _, c := range small().Chains {
		s.chains[c.Name] = c.Chain
		for _, r := range c.Rules {
			s.rules[c.Name] = append(s.rules[c.Name], nft.Rule{Exprs: r})
		}
	}
	e := raw(to("a", 80))
	e.Counted, e.Packets = true, 7
	s.elems["to"] = []nft.Element{e}
	return s
}

func (s *source) TableFlags(nft.Table) (uint32, bool, error) { return s.flags, !s.absent, s.err }

func (s *source) Chain(_ nft.Table, name string) (nft.Chain, bool, error) {
	c, ok := s.chains[name]
	return c, ok, s.err
}

func (s *source) AllRules(nft.Table) (map[string][]nft.Rule, error) { return s.rules, s.err }

func (s *source) Sets(nft.Table) ([]nft.Set, error) { return s.sets, s.err }

func (s *source) AllElements(set nft.Set) ([]nft.Element, error) { return s.elems[set.Name], s.err }

// What is not as the Spec says is broken, and somebody else's table is left alone.
func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name     string
		spoil    func(*source)
		broken   []string
		stranger string
		elements int
	}{
		{"as it must be", func(*source) {}, nil, "", 1},
		{"dormant", func(s *source) { s.flags = nft.TableDormant }, []string{"flag dormant"}, "", 1},
		{"without a set", func(s *source) { s.sets = s.sets[:2] }, []string{"set lead"}, "", 1},
		{"without a chain", func(s *source) { delete(s.chains, "pre") }, []string{"chain pre"}, "", 1},
		{"at another priority", func(s *source) { s.chains["pre"] = nft.Chain{Table: small().Table, Name: "pre", Type: "nat"} }, []string{"chain pre"}, "", 1},
		{"with a rule too many", func(s *source) { s.rules["inner"] = append(s.rules["inner"], nft.Rule{}) }, []string{"chain inner"}, "", 1},
		{"with another rule", func(s *source) { s.rules["inner"][0] = nft.Rule{Exprs: []nft.Expr{{Name: "counter"}}} }, []string{"chain inner"}, "", 1},
		{"with a rule that has a comment", func(s *source) { s.rules["inner"][0].Comment = "mine" }, []string{"chain inner"}, "", 1},
		{"another version's", func(s *source) { s.sets[0].KeyLen = 4 }, nil, "set to of table inet small", 0},
		{"another version's map", func(s *source) { s.sets[2].Verdicts = false }, nil, "set lead of table inet small", 0},
		{"a stranger's", func(s *source) { s.sets = nil }, nil, "the sets of table inet small", 0},
	} {
		s := sound()
		tt.spoil(s)
		table, err := small().Read(s)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(table.Elements(all)); n != tt.elements || !table.There {
			t.Errorf("%s: %d elements", tt.name, n)
		}
		if tt.stranger != "" {
			if !errors.Is(table.Stranger, ErrVersion) || !strings.Contains(table.Stranger.Error(), tt.stranger) || !Diff(table, table.Without(all)).Empty() {
				t.Errorf("%s: %v", tt.name, table.Stranger)
			}
			continue
		}
		if d := cmp.Diff(tt.broken, table.Broken); d != "" || table.Stranger != nil {
			t.Errorf("%s: %v (-want +got)\n%s", tt.name, table.Stranger, d)
		}
		if !Diff(table, table).Empty() || Diff(table, table.With(nil)).Empty() != (len(tt.broken) == 0) {
			t.Errorf("%s: it is not mended, or too soon", tt.name)
		}
		if n, counted := table.Packets(to("a", 80)); !counted || n != 7 {
			t.Errorf("%s: %d packets", tt.name, n)
		}
	}
	if table, err := small().Read(&source{absent: true}); err != nil || table.There {
		t.Errorf("a table that is absent: %v", err)
	}
	if _, err := small().Read(&source{err: errors.New("no")}); err == nil {
		t.Error("an error is lost")
	}
}

// Chains with conditions are known by their names and by what their rules look like.
func TestReadConditions(t *testing.T) {
	s := sound()
	s.rules["if-A-1"] = []nft.Rule{{Exprs: []nft.Expr{nft.Verdict{Code: nft.Return}.Expr()}}, {Exprs: []nft.Expr{{Name: "nat"}}}}
	s.elems["lead"] = []nft.Element{raw(Element{Set: "lead", From: Join(PortKey(80)), Goto: "if-B-2"})}
	table, err := small().Read(s)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"if-A-1", "if-B-2"}, table.Chains()); d != "" {
		t.Error(d)
	}
	c, _ := table.Conditions("if-A-1")
	if d := cmp.Diff([]string{Returns, Translates}, c.Shape); d != "" {
		t.Error(d)
	}
	for name, tt := range map[string]struct {
		want   *Table
		script string
	}{
		"as it is": {table.With(nil, Conditions{Name: "if-A-1", Rules: []string{"return", "x"}, Shape: c.Shape}), ""},
		"emptied":  {table.With(nil, Conditions{Name: "if-B-2", Rules: []string{"return"}, Shape: []string{Returns}}), "add chain inet small if-B-2\nflush chain inet small if-B-2\nadd rule inet small if-B-2 return\n"},
		"new":      {table.With(nil, Conditions{Name: "if-C-3", Rules: []string{"return"}, Shape: []string{Returns}}), "add chain inet small if-C-3\nadd rule inet small if-C-3 return\n"},
		"gone":     {table.Without(func(Element) bool { return false }, "if-A"), ""},
	} {
		p := Diff(table, tt.want)
		if p.Script != tt.script || p.Cleanup.Empty() != (name != "gone") {
			t.Errorf("%s: script %q, cleanup %d", name, p.Script, p.Cleanup.Len())
		}
	}
}

// What leads to a chain with conditions is counted by the rules there that bear its key, the
// last counter of each, and else by the map: those of an older version count so.
func TestPackets(t *testing.T) {
	count := func(n byte) nft.Expr {
		return nft.Expr{Name: "counter", Attrs: nft.Attrs{}.With(unix.NFTA_COUNTER_PACKETS, []byte{0, 0, 0, 0, 0, 0, 0, n})}
	}
	s := sound()
	s.rules["if-A-1"] = []nft.Rule{{Comment: "80", Exprs: []nft.Expr{count(9), count(2), {Name: "nat"}}}, {Comment: "80", Exprs: []nft.Expr{count(3)}}, {Exprs: []nft.Expr{count(5)}}}
	lead := map[uint16]Element{}
	for port, chain := range map[uint16]string{80: "if-A-1", 81: "if-A-1", 82: "if-B-2"} {
		lead[port] = Element{Set: "lead", From: Join(PortKey(port)), Goto: chain}
		e := raw(lead[port])
		e.Counted, e.Packets = true, 7
		s.elems["lead"] = append(s.elems["lead"], e)
	}
	table, err := small().Read(s)
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint16]uint64{80: 5, 81: 7, 82: 7} {
		if n, ok := table.Packets(lead[port]); !ok || n != want {
			t.Errorf("%d: %d %t, want %d", port, n, ok, want)
		}
	}
}

// Tables do not change, and one without elements is not there.
func TestWithAndWithout(t *testing.T) {
	empty := small().Absent()
	one := empty.With([]Element{to("a", 80)})
	two := one.With([]Element{to("b", 81), left("10.0.0.0/8")})
	if empty.There || !one.There || len(texts(one)) != 1 || len(texts(two)) != 3 {
		t.Errorf("%v, %v", texts(one), texts(two))
	}
	left := two.Without(func(e Element) bool { return e.Owner() == to("b", 81).Owner() })
	if d := cmp.Diff([]string{`left: "eth0" . 10.0.0.0/8`, `to: tcp . 80 counter comment "portguard net a eth0" : 10.88.0.5 . 80`}, texts(left)); d != "" {
		t.Error(d)
	}
	if gone := two.Without(all); gone.There || Diff(two, gone).Commit.Len() != 1 {
		t.Error("the table is not deleted")
	}
}

// Revert undoes what was done of a change, and nothing that somebody else did since.
func TestRevert(t *testing.T) {
	from := small().Absent().With([]Element{to("a", 80), to("a", 81)})
	want := from.Without(func(e Element) bool { return e == to("a", 81) }).With([]Element{to("b", 82)}, Conditions{Name: "if-B-1"})
	for name, tt := range map[string]struct {
		now, want *Table
	}{
		"nothing was done":        {from, from},
		"all was done":            {want, from},
		"a chain was made":        {from.With(nil, Conditions{Name: "if-B-1"}), from},
		"somebody took the place": {want.With([]Element{to("c", 81)}), from.With([]Element{to("c", 81)})},
		"somebody came":           {want.With([]Element{to("c", 90)}), from.With([]Element{to("c", 90)})},
		"somebody flushed it":     {small().Absent(), small().Absent().With([]Element{to("a", 81)})},
	} {
		got := Revert(tt.now, from, want)
		if d := cmp.Diff(texts(tt.want), texts(got)); d != "" || !slices.Equal(tt.want.Chains(), got.Chains()) {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
	none := small().Absent()
	if Revert(none.With(nil), none, none.With([]Element{to("a", 80)})).There {
		t.Error("a skeleton that was made stays")
	}
}

func raw(e Element) nft.Element {
	s := small()
	return s.raw(&e)
}
