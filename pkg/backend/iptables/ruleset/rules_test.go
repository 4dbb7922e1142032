// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/nft"
)

// decoded reads what is ours as nf_tables has it.
func (k fake) decoded(t testing.TB, f hostport.Family) *Layout {
	t.Helper()
	tables, err := xtrule.Parse(k.save(), f)
	if err != nil {
		t.Fatal(err)
	}
	at, chains := nft.Table{Family: f.NFProto(), Name: "nat"}, map[string][]nft.Rule{}
	for _, c := range tables.Chains(at) {
		if !IsOurs("nat", c) && !isBase(c) {
			continue
		}
		if chains[c], err = tables.Rules(at, c); err != nil {
			t.Fatal(err)
		}
	}
	return FromRules(f, chains, func(index string) string {
		var n uint16
		for _, d := range index {
			n = 10*n + uint16(d-'0')
		}
		name, _ := tables.SetName(n)
		return name
	})
}

// Rules are the same as text and as nf_tables has them, to the letter.
func TestRulesAreTheirText(t *testing.T) {
	for _, f := range hostport.Families() {
		k := foreign()
		k["nat"]["POSTROUTING"], k["nat"]["CNI-0123"] = nil, nil // of IPv4
		a, b := dualStack(), many("b", hostport.SCTP, 80, 81)
		a.ConditionsV4 = nil // iptables puts their words in its own order
		b.MasqAll, b.SNAT = true, false
		k.put(t, f, a, ServiceSets(f))
		k.put(t, f, b, ServiceSets(f))
		text, rules := k.layout(t, f), k.decoded(t, f)
		if plan := Diff(text, rules) + Diff(rules, text); plan != "" {
			t.Errorf("%s: from one to the other\n%s", f, plan)
		}
		if !text.Undoable(empty(f)) || !rules.Undoable(empty(f)) {
			t.Errorf("%s: what was written cannot be written again", f)
		}
		if diff := cmp.Diff(text.Claims(), rules.Claims(), compare(), cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Packets" }, cmp.Ignore())); diff != "" {
			t.Errorf("%s (-text +rules)\n%s", f, diff)
		}
		lost, moved := rules.Misplaced()
		if lost = slices.Concat(rules.Check(a, ServiceSets(f)), lost, moved); len(lost) > 0 {
			t.Errorf("%s: lost %q", f, lost)
		}
		if plan := Diff(rules, rules.Put(ServiceSets(f), a)); plan != "" {
			t.Errorf("%s: putting it again changes\n%s", f, plan)
		}
		k.apply(t, Diff(rules, rules.Remove(a.Owner.Key())))
		if k.decoded(t, f).Has(a.Owner.Key()) {
			t.Errorf("%s: it stays\n%s", f, k.save())
		}
	}
}

// A rule of which not all is known is never written, nor deleted by its text.
func TestWhatIsNotKnown(t *testing.T) {
	k := foreign()
	a := many("a", hostport.TCP, 80)
	a.ConditionsV4 = []string{"-m", "mac", "--mac-source", "02:00:00:00:00:01"}
	k.put(t, v4, a, nil)
	k["nat"][hostports] = append([]string{"-m mac --mac-source 02:00:00:00:00:02 -j ACCEPT"}, k["nat"][hostports]...)
	l := k.decoded(t, v4)
	if lost := l.Check(a, nil); len(lost) != 1 {
		t.Errorf("lost %q, want the stranger's rule", lost)
	}
	if l.Undoable(l.Remove(a.Owner.Key())) || !l.Undoable(l) {
		t.Error("it can be undone without the words of iptables")
	}
	k.apply(t, Diff(l, l.Put(nil, many("b", hostport.TCP, 81))))
	l = k.decoded(t, v4)
	k.apply(t, Diff(l, l.Remove(a.Owner.Key(), many("b", hostport.TCP).Owner.Key())))
	if diff := cmp.Diff(foreign().save(), k.save()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
