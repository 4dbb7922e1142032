// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMemory(t *testing.T) {
	m := &Memory{answers: map[string][][]byte{
		"question":  {[]byte("one"), {}, []byte("three")},
		"no answer": nil,
		"":          {[]byte("to nothing")},
	}}
	b := m.Encode()
	got, err := DecodeMemory(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(b), string(got.Encode())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(m.answers["question"], got.answers["question"]); diff != "" || len(got.answers) != 3 {
		t.Errorf("%d answers (-want +got):\n%s", len(got.answers), diff)
	}
	for n := range len(b) - 1 { // cut off anywhere but between two answers it is damaged
		cut, err := DecodeMemory(b[:n+1])
		if err == nil && len(cut.answers) == 3 || err != nil && !errors.Is(err, errMemory) {
			t.Errorf("cut off after %d of %d bytes: %v, %v", n+1, len(b), cut, err)
		}
	}
}

// What is recalled is not asked for, what is not is: this Reader has no kernel to
// ask.
func TestRecall(t *testing.T) {
	nat := Table{Family: IPv4, Name: "nat"}
	kernel := NewReader()
	kernel.remember(question(rulesOf(nat, "PREROUTING")), [][]byte{at(ruleChain, []byte("PREROUTING\x00"))})
	kernel.remember(question(request(getChain, unix.NLM_F_DUMP, IPv4)), [][]byte{Attrs(at(chainTable, []byte("nat\x00"))).With(chainName, []byte("PREROUTING\x00"))})
	told, news := kernel.Heard()
	if !news {
		t.Error("what was told is no news")
	}
	r := NewReader()
	r.Recall(told)
	r.conn.fd = 1 << 20 // no such socket
	rules, err := r.Rules(nat, "PREROUTING")
	if err != nil || len(rules) != 1 || rules[0].Chain != "PREROUTING" {
		t.Errorf("got %v, %v", rules, err)
	}
	if _, news := r.Heard(); news {
		t.Error("what was recalled is news")
	}
	r.Ahead(nat, "PREROUTING")
	if len(r.ahead) > 0 {
		t.Error("a chain that is known is read ahead")
	}
	if rules, err := r.Rules(nat, "OUTPUT"); err == nil {
		t.Errorf("what nobody told is known: %v", rules)
	}
}

// Another family, table or chain, and another kind of request, is another question.
func TestQuestions(t *testing.T) {
	seen := map[string]bool{}
	for _, fam := range []uint8{Inet, IPv4, IPv6} {
		for _, table := range []string{"nat", "filter"} {
			for _, chain := range []string{"PREROUTING", "OUTPUT"} {
				seen[question(rulesOf(Table{Family: fam, Name: table}, chain))] = true
			}
		}
		seen[question(request(getChain, unix.NLM_F_DUMP, fam))] = true
		seen[question(request(getTable, unix.NLM_F_DUMP, fam))] = true
		seen[question(request(getTable, unix.NLM_F_ACK, fam))] = true
	}
	if len(seen) != 3*(2*2+3) {
		t.Errorf("%d questions are told apart, not %d", len(seen), 3*(2*2+3))
	}
	nat := Table{Family: IPv4, Name: "nat"}
	first, second := rulesOf(nat, "OUTPUT"), rulesOf(nat, "OUTPUT")
	if first.Seq == second.Seq || question(first) != question(second) {
		t.Error("the same question is another one the second time")
	}
}

// Chains are filtered alike, whatever they are asked for.
func TestWanted(t *testing.T) {
	r := NewReader()
	r.Wanted = func(chain string) bool { return chain == "PREROUTING" }
	hook := Attrs{}.With(hookNum, be32(Prerouting)).With(hookPriority, be32(0))
	for name, want := range map[string]bool{"PREROUTING": true, "KUBE-SEP-X": false, "base": true} {
		m := Attrs{}.With(chainTable, cstring("nat")).With(chainName, cstring(name))
		if name == "base" {
			m = m.With(nest(chainHook), hook)
		}
		if got, err := r.wanted(m); got != want || err != nil {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
	if _, err := r.wanted([]byte{1, 2, 3}); err == nil {
		t.Error("a message that is cut off is no error")
	}
}

// A rule that compares its destination with an address that concerns nobody is not
// kept; every other one is.
func TestConcerning(t *testing.T) {
	r := NewReader()
	node := netip.MustParseAddr("192.0.2.1")
	r.Concerns = func(a netip.Addr) bool { return a == node }
	to := func(dst string) []byte {
		var list Attrs
		for _, e := range []Expr{
			{"payload", Attrs{}.With(1, be32(1)).With(2, be32(1)).With(3, be32(16)).With(4, be32(4))},
			{"cmp", Attrs{}.With(1, be32(1)).With(2, be32(0)).With(nest(3), Attrs{}.With(1, netip.MustParseAddr(dst).AsSlice()))},
		} {
			list = list.With(nest(listElem), Attrs{}.With(exprName, cstring(e.Name)).With(nest(exprData), e.Attrs))
		}
		return Attrs{}.With(nest(ruleExprs), list)
	}
	keep := r.concerning(Table{Family: IPv4, Name: "nat"})
	for dst, want := range map[string]bool{"192.0.2.1": true, "10.96.0.1": false} {
		if got, err := keep(to(dst)); got != want || err != nil {
			t.Errorf("%s: %t, %v", dst, got, err)
		}
	}
	if got, _ := r.concerning(Table{Family: Inet, Name: "nat"})(to("10.96.0.1")); !got {
		t.Error("a rule of an inet table is judged by its first bytes")
	}
}

func FuzzDecodeMemory(f *testing.F) {
	m := &Memory{answers: map[string][][]byte{"q": {[]byte("a"), []byte("b")}, "r": nil}}
	f.Add(m.Encode())
	f.Add([]byte{1, 'q', 200, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMemory(b)
		if err != nil {
			return
		}
		again, err := DecodeMemory(m.Encode())
		if err != nil || len(again.answers) != len(m.answers) {
			t.Errorf("%v, %v", again, err)
		}
	})
}
