// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/nft"
)

// names of chains "TABLEHANDLE", such as "a2": a table is a letter, capital ones are netdev tables.
func chainsOf(names ...string) (out []hooked) {
	for _, n := range names {
		c := hooked{Chain: nft.Chain{Table: nft.Table{Family: nft.IPv4, Name: n[:1]}, Name: n, Handle: uint64(n[1] - '0')}}
		if strings.ToUpper(n) == n {
			c.Table.Family, c.Hook = nft.Netdev, nft.NetdevIngress
		}
		out = append(out, c)
	}
	return out
}

func TestOrders(t *testing.T) {
	for _, tt := range []struct {
		name, chains string
		want         []string
	}{
		{"one", "a1", []string{"a1"}},
		{"of one table the younger one is first", "a1 a3 a2", []string{"a3 a2 a1"}},
		{"of two tables either may be first", "a1 b1", []string{"a1 b1", "b1 a1"}},
		{"what stands between two of a table may be anywhere", "a1 b1 a2", []string{"a2 a1 b1", "a2 b1 a1", "b1 a2 a1"}},
		{"chains without a handle are of any age", "a0 a1", []string{"a0 a1", "a1 a0"}},
		{"a link may be of the younger one and later of the older one, too", "A1 A2", []string{"A1 A2", "A2 A1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, order := range orders(lines(chainsOf(strings.Fields(tt.chains)...))) {
				got = append(got, spelled(order))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	legacy := chainsOf("a1", "a2")
	legacy[0].ruleset, legacy[1].ruleset = &ruleset{}, &ruleset{}
	if got := len(orders(lines(legacy))); got != 2 {
		t.Errorf("tables of one name in two rule sets: %d orders, want 2", got)
	}
}

func spelled(order []hooked) string {
	var names []string
	for _, c := range order {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

// Where there are too many orders, each three chains are there in all of theirs, and what is looked
// at does not grow with their number.
func TestTooManyOrders(t *testing.T) {
	var all []hooked
	for i := range 9 {
		all = append(all, chainsOf(string(rune('a'+i))+"1", string(rune('a'+i))+"2")...)
	}
	if got := len(orders(lines(all))); got != maxOrders {
		t.Errorf("%d orders, want %d", got, maxOrders)
	}
	five := orders(lines(chainsOf("a1", "b1", "c1", "d1", "e1")))
	place := func(order []hooked, name string) int {
		return slices.IndexFunc(order, func(c hooked) bool { return c.Name == name })
	}
	for _, x := range five[0] {
		for _, y := range five[0] {
			for _, z := range five[0] {
				found := slices.ContainsFunc(five, func(o []hooked) bool {
					return place(o, x.Name) < place(o, y.Name) && place(o, y.Name) < place(o, z.Name)
				})
				if distinct := x != y && y != z && x != z; found != distinct {
					t.Errorf("%s before %s before %s: found %t", x.Name, y.Name, z.Name, found)
				}
			}
		}
	}
}

// Of chains of one table the younger one is first, and those of another table may come anywhere. The
// warning is of packets that come with the mark.
func TestAge(t *testing.T) {
	also := slices.Concat[[]nft.Expr]
	rewrite := []nft.Expr{ex("payload", 5, 8, 2, 2, 3, 2, 4, 2)}
	// node has such chains, each in the table and with the handle that its name says.
	node := func(typ string, chains ...hookedAt) Snapshot {
		for i := range chains {
			chains[i].typ, chains[i].hook, chains[i].priority = typ, nft.Prerouting, -150
		}
		s := hooks(chains...)
		for i, c := range s.Rulesets[0].Chains {
			s.Rulesets[0].Chains[i].Table.Name, s.Rulesets[0].Chains[i].Handle = c.Name[:1], uint64(c.Name[1]-'0')
		}
		return s
	}
	rule := func(name string, es ...[]nft.Expr) hookedAt {
		return hookedAt{name: name, rules: [][]nft.Expr{also(es...)}}
	}
	marks := func(name string) hookedAt { return rule(name, dportIs(80), set("meta", 100)) }
	more := func(name string) hookedAt { return rule(name, marked("meta", 100), set("meta", 101)) }
	any4 := attach(mapTo(v4, ""))
	var cases []findCase
	for typ, takes := range map[string][]nft.Expr{"filter": rewrite, "nat": {ex("redir")}} {
		asks := func(name string, n uint32) hookedAt { return rule(name, marked("meta", n), takes) }
		cases = append(cases,
			findCase{"the younger one marks, " + typ, any4, node(typ, asks("a1", 100), marks("a2")), "refuse 103", ""},
			findCase{"the older one marks, " + typ, any4, node(typ, asks("a2", 100), marks("a1")), "warn 108", ""},
			findCase{"that of another table marks, " + typ, any4, node(typ, asks("a2", 100), marks("b1")), "refuse 103; warn 108", ""},
			findCase{"it stands between the other two, " + typ, any4, node(typ, asks("a1", 101), more("b1"), marks("a2")), "refuse 103", ""},
			findCase{"between two in a wrong order, " + typ, any4, node(typ, asks("a2", 101), more("b1"), marks("a1")), "warn 108", ""},
			findCase{"three tables, " + typ, any4, node(typ, more("a1"), asks("b1", 101), marks("c1")), "refuse 103; warn 108", ""},
		)
	}
	drop := []nft.Expr{verdict(nft.Drop, "")}
	cases = append(cases,
		findCase{"the older one drops", any4, node("filter", rule("a1", dportIs(80), drop), rule("a2", dportIs(80), rewrite)), "refuse 103", ""},
		findCase{"the younger one drops", any4, node("filter", rule("a2", dportIs(80), drop), rule("a1", dportIs(80), rewrite)), "refuse 105", ""},
	)
	check(t, cases)
}
