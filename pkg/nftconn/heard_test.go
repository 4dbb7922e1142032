// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"errors"
	"testing"

	"github.com/portguard/portguard/pkg/nft"
)

// TestSame: what was counted does not matter, all else does.
func TestSame(t *testing.T) {
	rule := func(handle uint64, exprs ...nft.Expr) []nft.Rule {
		return []nft.Rule{{Chain: "c", Handle: handle, Exprs: exprs}}
	}
	expr := func(name string, b byte) nft.Expr { return nft.Expr{Name: name, Attrs: nft.Attrs{}.With(1, []byte{b})} }
	elem := func(e nft.Element) []nft.Element { return []nft.Element{e} }
	for _, tt := range []struct {
		name string
		a, b any
		want bool
	}{
		{"a counter", rule(1, expr("counter", 1), expr("cmp", 1)), rule(1, expr("counter", 2), expr("cmp", 1)), true},
		{"another value", rule(1, expr("cmp", 1)), rule(1, expr("cmp", 2)), false},
		{"another expression", rule(1, expr("cmp", 1)), rule(1, expr("range", 1)), false},
		{"one expression more", rule(1), rule(1, expr("counter", 1)), false},
		{"a rule made anew", rule(1), rule(2), false},
		{"a rule more", rule(1), append(rule(1), rule(2)...), false},
		{"none", []nft.Rule{}, []nft.Rule(nil), true},
		{"rules and an error", rule(1), "gone", false},
		{"an element's counter", elem(nft.Element{Key: []byte{1}, Packets: 1}), elem(nft.Element{Key: []byte{1}, Packets: 2}), true},
		{"another verdict", elem(nft.Element{Key: []byte{1}}), elem(nft.Element{Key: []byte{1}, Verdict: nft.Verdict{Code: nft.Goto, Chain: "c"}}), false},
		{"another end", elem(nft.Element{Key: []byte{1}}), elem(nft.Element{Key: []byte{1}, KeyEnd: []byte{2}}), false},
		{"an element gone", elem(nft.Element{}), []nft.Element(nil), false},
		{"chains", []nft.Chain{{Name: "c"}}, []nft.Chain{{Name: "c", Priority: 1}}, false},
		{"sets", []nft.Set{{Name: "s"}}, []nft.Set{{Name: "s"}}, true},
		{"names", []string{"a"}, []string{"a", "b"}, false},
		{"a set", nft.Set{Name: "s"}, nft.Set{Name: "s", KeyLen: 4}, false},
		{"nothing", nil, nil, true},
		{"yes and no", true, false, false},
	} {
		a, b := NewReader(), NewReader()
		a.heard("q", tt.a, nil)
		b.heard("q", tt.b, nil)
		if got := a.Same(b); got != tt.want || b.Same(a) != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	a, b := NewReader(), NewReader()
	a.heard("q", nil, errors.New("gone"))
	if a.Same(b) || b.Same(a) {
		t.Error("an answer more is the same")
	}
	if b.heard("r", nil, errors.New("gone")); a.Same(b) {
		t.Error("another question is the same")
	}
}
