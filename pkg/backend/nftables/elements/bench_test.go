// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// many is a pod with k hostPorts of both families.
func many(k int) hostport.Attachment {
	return web("many", func(a *hostport.Attachment) {
		a.Mappings = nil
		for i := range uint16(k) {
			a.Mappings = append(a.Mappings, on(v4, "", tcp, 10000+i, 80), on(v6, "", tcp, 10000+i, 80))
		}
	})
}

// BenchmarkAdd adds a pod with 16,000 hostPorts.
func BenchmarkAdd(b *testing.B) {
	a, have := many(16000), absent()
	for b.Loop() {
		want := have.With(a)
		plan := nfttable.Diff(table(have), table(want))
		if plan.Commit.Encode(true) == nil {
			b.Fatal("nothing to do")
		}
	}
}

// BenchmarkOther adds another pod and deletes it where one has 16,000 hostPorts, and asks
// whether that one is whole.
func BenchmarkOther(b *testing.B) {
	a, other := many(16000), web("other")
	with := table(absent().With(a))
	for b.Loop() {
		have := &State{Table: with} // knows nothing yet
		want := have.With(other)
		if !have.Whole(a) || nfttable.Diff(table(have), table(want)).Empty() || nfttable.Diff(table(want), table(want.Without(other.Owner.Key()))).Empty() {
			b.Fatal("nothing to do")
		}
	}
}

// BenchmarkDel deletes a pod with 16,000 hostPorts.
func BenchmarkDel(b *testing.B) {
	a := many(16000)
	with := table(absent().With(a))
	for b.Loop() {
		have := &State{Table: with}
		if _, ok := have.Recover(a.Owner.Key()); !ok || nfttable.Diff(with, table(have.Without(a.Owner.Key()))).Empty() {
			b.Fatal("nothing to do")
		}
	}
}
