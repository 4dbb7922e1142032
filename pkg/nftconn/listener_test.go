// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/nft"
)

// Every change of a table is told, and makes untrue what it is about and nothing else.
func TestListenThenForget(t *testing.T) {
	need.Netns(t)
	table := nft.Table{Family: nft.IPv4, Name: "mine"}
	change := func(f func(b *nft.Batch)) {
		t.Helper()
		b := &nft.Batch{}
		if f(b); Open().Apply(b) != nil {
			t.Fatal("the kernel refuses the change")
		}
	}
	accept := nft.Rule{Exprs: []nft.Expr{nft.Verdict{Code: nft.Accept}.Expr()}}
	chain := func(name string) nft.Chain { return nft.Chain{Table: table, Name: name} }
	set := nft.Set{Table: table, Name: "s", KeyLen: 4}
	change(func(b *nft.Batch) {
		b.CreateTable(table)
		b.AddChain(chain("a"))
		b.AddChain(chain("b"))
		b.AddSet(set, 12, 0, 0, nil)
	})
	l, err := Open().Listener()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(b *nft.Batch)
		rules  string // the chain whose rules are not true any more
		matter bool
	}{
		{"a rule in a chain that was read", func(b *nft.Batch) { b.AddRule(table, "a", accept) }, "a", true},
		{"its removal", func(b *nft.Batch) { b.FlushChain(table, "a") }, "a", true},
		{"a rule elsewhere", func(b *nft.Batch) { b.AddRule(table, "b", accept) }, "", false},
		{"an element of a set that was asked", func(b *nft.Batch) {
			b.CreateElement(table, "s", nft.Element{Key: []byte{6, 0, 0, 0}})
		}, "", true},
		{"a base chain", func(b *nft.Batch) {
			b.AddChain(nft.Chain{Table: table, Name: "pre", Type: "nat", Hook: nft.Prerouting, Priority: -100})
		}, "", true},
		{"the table", func(b *nft.Batch) { b.DeleteTable(table) }, "", true},
	} {
		r := NewReader()
		r.Wanted = func(string) bool { return false }
		_, err1 := r.Rules(table, "a")
		_, _, err2 := r.Chains()
		if err1 != nil || err2 != nil {
			t.Fatal(tt.name, err1, err2)
		}
		if _, _, err := r.Lookup(set, []byte{6, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		change(tt.change)
		matter, events := heard(t, l, r)
		if _, kept := r.answers["rules "+table.String()+" a"]; matter != tt.matter || kept != (tt.rules != "a") {
			t.Errorf("%s: it matters %v (want %v), the rules are kept %v: %+v", tt.name, matter, tt.matter, kept, events)
		}
	}
}

// heard has a Reader forget what was changed since, and reports whether it had asked for that.
func heard(t *testing.T, l *Listener, r *Reader) (matter bool, events []nft.Event) {
	t.Helper()
	now, err := r.Generation()
	if err != nil {
		t.Fatal(err)
	}
	if events, err = l.Until(now); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		matter = r.Forget(e) || matter
	}
	return matter, events
}

// A list of a set follows what comes into it and goes, without another reading; a flood of it is read.
func TestListsFollowElements(t *testing.T) {
	need.Netns(t)
	table := nft.Table{Family: nft.IPv4, Name: "mine"}
	set := nft.Set{Table: table, Name: "s", KeyLen: 4}
	key := func(n int) nft.Element { return nft.Element{Key: []byte{10, 0, byte(n >> 8), byte(n)}} }
	change := func(from, to int, f func(b *nft.Batch, e nft.Element)) {
		t.Helper()
		b := &nft.Batch{}
		for n := from; n < to; n++ {
			f(b, key(n))
		}
		if err := Open().Apply(b); err != nil {
			t.Fatal(err)
		}
	}
	add := func(b *nft.Batch, e nft.Element) { b.CreateElement(table, "s", e) }
	remove := func(b *nft.Batch, e nft.Element) { b.DeleteElement(table, "s", e) }
	b := &nft.Batch{}
	b.CreateTable(table)
	b.AddSet(set, 12, 0, 0, nil)
	if err := Open().Apply(b); err != nil {
		t.Fatal(err)
	}
	change(0, 3, add)
	r := NewReader()
	listed := func() string {
		t.Helper()
		elems, err := r.elements(set, nft.MaxListed)
		if err != nil {
			t.Fatal(err)
		}
		var out []int
		for _, e := range elems {
			out = append(out, int(e.Key[2])<<8|int(e.Key[3]))
		}
		slices.Sort(out)
		return fmt.Sprint(out)
	}
	if got := listed(); got != "[0 1 2]" {
		t.Fatal(got)
	}
	for _, tt := range []struct {
		name   string
		change func()
		kept   bool
		want   string
	}{
		{"one more", func() { change(7, 8, add) }, true, "[0 1 2 7]"},
		{"one less", func() { change(1, 2, remove) }, true, "[0 2 7]"},
		{"several of both", func() { change(8, 10, add); change(0, 1, remove); change(0, 1, add) }, true, "[0 2 7 8 9]"},
		{"more than are followed", func() { change(100, 101+maxAmended, add); change(100, 101+maxAmended, remove) }, false, "[0 2 7 8 9]"},
	} {
		l, err := Open().Listener()
		if err != nil {
			t.Fatal(err)
		}
		tt.change()
		matter, _ := heard(t, l, r)
		_, kept := r.answers[fmt.Sprintf("elements %s s %d", table, nft.MaxListed)]
		if got := listed(); !matter || kept != tt.kept || got != tt.want {
			t.Errorf("%s: it matters %t, the list is kept %t: %s, want %s", tt.name, matter, kept, got, tt.want)
		}
	}
}

// Whoever hears of nothing waits for a moment only.
func TestListenInVain(t *testing.T) {
	need.Netns(t)
	l, err := Open().Listener()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Until(77); err == nil {
		t.Error("a transaction that was not made is told of")
	}
	if _, err := eventsIn(append([]byte{24, 0, 0, 0}, make([]byte, 16)...)); err == nil {
		t.Error("a message that is cut off is read")
	}
}

// A change of one's own is not told: of each element there would be a message. The next Listener
// hears of the changes of others again.
func TestListenToOthers(t *testing.T) {
	need.Netns(t)
	c := Open()
	l, err := c.Listener()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(create(1)); err != nil {
		t.Fatal(err)
	}
	if n, _, err := unix.Recvfrom(l.fd, l.buf, unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%d bytes are told of, %v", n, err)
	}
	next, err := c.Listener()
	if err != nil {
		t.Fatal(err)
	}
	b := &nft.Batch{}
	b.DeleteTable(nft.Table{Family: nft.Inet, Name: "mine"})
	if err := Open().Apply(b); err != nil {
		t.Fatal(err)
	}
	now, err := c.Reader().Generation()
	if err != nil {
		t.Fatal(err)
	}
	if events, err := next.Until(now); err != nil || len(events) == 0 {
		t.Errorf("%d events, %v", len(events), err)
	}
}
