// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

// free reports whether an ADD of somebody else would take the port.
func (k fake) free(t testing.TB, p hostport.Proto, port uint16) bool {
	t.Helper()
	m := mapping(4, "", p, port, 80)
	return !slices.ContainsFunc(k.layout(t, v4).Claims(), func(c hostport.Claim) bool { return c.Mapping.Overlaps(m) })
}

// flushable are the chains that somebody may flush.
func flushable() []string { return []string{hostports, masq, "POSTROUTING", "PREROUTING"} }

// Somebody flushes a chain, and the next ADD may be anybody's: nobody's port is free,
// who comes then works, and so does everybody who is put back.
func TestAddAfterAFlush(t *testing.T) {
	for _, chain := range flushable() {
		k := crowded()
		k["nat"][chain] = nil
		late := many("late", hostport.TCP, 8001)
		k.put(t, v4, late, nil)
		if keys := k.reached(t, hostport.TCP, 8001); !slices.Equal(keys, []string{late.Owner.Key()}) {
			t.Errorf("%s flushed: 8001 reaches %q", chain, keys)
		}
		have := k.layout(t, v4)
		l := have
		for i := range uint16(60) {
			a := many(fmt.Sprint(i), hostport.TCP, 8000+3*i)
			if k.free(t, hostport.TCP, 8000+3*i) {
				t.Errorf("%s flushed: %d is free", chain, 8000+3*i)
			}
			if len(have.Check(a, nil)) > 0 {
				l = l.Put(nil, a)
			}
		}
		k.apply(t, Diff(have, l))
		l = k.layout(t, v4)
		for i := range uint16(60) {
			a := many(fmt.Sprint(i), hostport.TCP, 8000+3*i)
			keys := k.reached(t, hostport.TCP, 8000+3*i)
			if lost := l.Check(a, nil); len(lost) > 0 || !slices.Equal(keys, []string{a.Owner.Key()}) {
				t.Errorf("%s flushed: %d reaches %q, lost %q", chain, 8000+3*i, keys, lost)
			}
		}
	}
}

// Somebody flushes a chain, then all go: their neighbours' ports are not free for that,
// and in the end nothing is left.
func TestDelAfterAFlush(t *testing.T) {
	for _, chain := range flushable() {
		k, n := foreign(), 4
		for i := range n {
			k.put(t, v4, many(fmt.Sprint(i), hostport.TCP, uint16(8000+3*i)), nil)
		}
		k["nat"][chain] = nil
		for i := range n {
			k.remove(t, v4, many(fmt.Sprint(i), hostport.TCP).Owner.Key())
			for j := i + 1; j < n; j++ {
				if k.free(t, hostport.TCP, uint16(8000+3*j)) {
					t.Errorf("%s flushed: %d is free", chain, 8000+3*j)
				}
			}
		}
		end := foreign()
		if isBase(chain) {
			end["nat"][chain] = nil
		}
		if diff := cmp.Diff(end.save(), k.save()); diff != "" {
			t.Errorf("%s flushed (-want +got)\n%s", chain, diff)
		}
	}
}

// iptables does not find some conditions again by their text: they go all the same, and
// stand in no chain from which others would have to be deleted.
func TestConditionsThatCannotBeDeleted(t *testing.T) {
	k := foreign()
	before := k.save()
	odd := many("odd", hostport.TCP, 8000, 8300)
	odd.ConditionsV4 = []string{"-m", "recent", "--rcheck", "--name", "x"}
	all := []hostport.Attachment{many("first", hostport.TCP, 7999), odd}
	for i := range uint16(3) {
		all = append(all, many(fmt.Sprint(i), hostport.TCP, 8001+i))
	}
	for _, a := range all {
		k.put(t, v4, a, nil)
	}
	odd.Mappings[0].ContainerPort = 81
	odd.Mappings = odd.Mappings[:1]
	k.put(t, v4, odd, nil)
	for _, a := range all {
		if a.Owner == odd.Owner {
			a = odd
		}
		if lost := k.layout(t, v4).Check(a, nil); len(lost) > 0 {
			t.Errorf("%s lost %q", a.Owner, lost)
		}
	}
	for _, a := range all {
		k.remove(t, v4, a.Owner.Key())
	}
	if diff := cmp.Diff(before, k.save()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Who fails an attachment's conditions goes on to the next one.
func TestConditionsLeadOn(t *testing.T) {
	k := foreign()
	a, b := many("a", hostport.TCP, 80), many("b", hostport.TCP, 80)
	a.ConditionsV4, b.ConditionsV4 = []string{"-s", "192.0.2.1"}, []string{"-s", "192.0.2.2"}
	k.put(t, v4, a, nil)
	k.put(t, v4, b, nil)
	if diff := cmp.Diff([]string{a.Owner.Key(), b.Owner.Key()}, k.reached(t, hostport.TCP, 80)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, c := range k.layout(t, v4).Claims() {
		if !c.Part {
			t.Errorf("%+v takes all", c)
		}
	}
	a.ConditionsV4 = nil
	k.put(t, v4, a, nil)
	if _, ok := k["nat"][condPrefix+a.Owner.Key()]; ok || len(k.layout(t, v4).Check(a, nil)) > 0 {
		t.Errorf("without conditions:\n%s", k.save())
	}
}
