// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

// seenBy is what the plugin reads for an ADD of a: a part, or all if that is not enough.
func (k fake) seenBy(t testing.TB, a hostport.Attachment) *Layout {
	t.Helper()
	if _, _, ok := Concerning(a, v4, slices.Collect(maps.Keys(k["nat"]))); ok {
		if l := k.part(t, v4, a); l.Enough(a.Mappings) {
			return l
		}
	}
	return k.layout(t, v4)
}

// free reports whether an ADD of somebody else would take the port.
func (k fake) free(t testing.TB, p hostport.Proto, port uint16) bool {
	t.Helper()
	rival := many("rival", p, port)
	return !slices.ContainsFunc(k.seenBy(t, rival).Claims(), func(c hostport.Claim) bool { return c.Mapping.Overlaps(rival.Mappings[0]) })
}

// flushable are the chains of a crowd that somebody may flush.
func flushable() []string {
	return []string{hostports, "PORTGUARD-TCP-4096-8191", "PORTGUARD-TCP-7936-8191", "PORTGUARD-TCP-8016-8031", "POSTROUTING"}
}

// Somebody flushes a chain, and the next ADD may be anybody's: nobody's port is free,
// and who comes then works and keeps its port.
func TestAddAfterAFlush(t *testing.T) {
	for _, chain := range flushable() {
		t.Run(chain, func(t *testing.T) {
			k := crowded(t)
			k["nat"][chain] = nil
			for i := range uint16(60) {
				if k.free(t, hostport.TCP, 8000+3*i) {
					t.Errorf("%d is free", 8000+3*i)
				}
			}
			var fresh []hostport.Attachment
			for i := range uint16(20) {
				a := many(fmt.Sprint("new", i), hostport.TCP, 8001+3*i+i%2*12000) // in two ranges
				fresh = append(fresh, a)
				have := k.seenBy(t, a)
				k.apply(t, Diff(have, have.Put(a, Node{})))
			}
			l := k.layout(t, v4)
			for _, a := range fresh {
				m := a.Mappings[0]
				if lost := l.Check(a, nil); len(lost) > 0 || k.free(t, m.Proto, m.HostPort) {
					t.Errorf("%s: lost %q, or the port is free", m, lost)
				}
				if keys, _ := k.reached(t, m.Proto, m.HostPort); len(keys) == 0 || keys[0] != a.Owner.Key() {
					t.Errorf("%s reaches %q", m, keys)
				}
			}
			for c, rules := range l.tables["nat"].chains {
				if l.isCut(c) && slices.ContainsFunc(rules, func(r string) bool { _, in := l.leads(r); return in }) {
					t.Errorf("%s leads to ranges and to attachments: %q", c, rules)
				}
			}
		})
	}
}

// removedBy is what the plugin reads for a DEL of a: a part, or all.
func (k fake) removedBy(t testing.TB, a hostport.Attachment, others []hostport.Attachment) *Layout {
	t.Helper()
	if l := k.belonging(t, a); l.Among(others, a.Owner.Key()) {
		return l
	}
	return k.layout(t, v4)
}

// Somebody flushes a chain, then neighbours of those who were behind it go: their ports
// are not free for that, and in the end nothing is left.
func TestDelAfterAFlush(t *testing.T) {
	for _, few := range []bool{true, false} {
		for _, chain := range flushable() {
			k, n := foreign(), 60
			if few {
				n = 4
			}
			var all []hostport.Attachment
			for i := range n {
				all = append(all, many(fmt.Sprint(i), hostport.TCP, uint16(8000+3*i)))
				k.put(t, v4, all[i], Node{})
			}
			k["nat"][chain] = nil
			for len(all) > 0 {
				have := k.removedBy(t, all[0], all[1:])
				k.apply(t, Diff(have, have.Remove(all[0].Owner.Key())))
				all = all[1:]
				for _, a := range all {
					if m := a.Mappings[0]; k.free(t, m.Proto, m.HostPort) {
						t.Fatalf("%s flushed, %d left: %s is free", chain, len(all), m)
					}
				}
			}
			end := foreign()
			if chain == "POSTROUTING" {
				end["nat"][chain] = nil
			}
			if few && chain != hostports && chain != "POSTROUTING" {
				delete(k["nat"], chain) // it was never there
			}
			if diff := cmp.Diff(end.save(), k.save()); diff != "" {
				t.Errorf("%s flushed (-want +got)\n%s", chain, diff)
			}
		}
	}
}

// A record whose ADD was killed makes no guard.
func TestAKilledAddHasNoGuard(t *testing.T) {
	k := foreign()
	a, killed := simple("a", "veth1", 80), simple("killed", "veth2", 81)
	k.put(t, v4, a, Node{})
	k.put(t, v4, simple("b", "veth1", 82), Node{})
	have := k.removedBy(t, a, []hostport.Attachment{killed, simple("b", "veth1", 82)})
	if !have.Part() {
		t.Fatal("all was read")
	}
	k.apply(t, Diff(have, have.Remove(a.Owner.Key())))
	if diff := cmp.Diff(map[string]bool{"veth1": false}, k.layout(t, v4).Guarded()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// An ADD of another network puts back what leads to the masquerading.
func TestAnAddRepairsPostrouting(t *testing.T) {
	k := crowded(t)
	k["nat"]["POSTROUTING"] = nil
	a := many("far", hostport.TCP, 8001)
	a.Pods = []netip.Prefix{netip.MustParsePrefix("10.77.0.2/16")}
	have := k.seenBy(t, a)
	k.apply(t, Diff(have, have.Put(a, Node{})))
	for _, a := range []hostport.Attachment{a, many("7", hostport.TCP, 8021)} {
		if lost := k.layout(t, v4).Check(a, nil); len(lost) > 0 {
			t.Errorf("%s lost %q", a.Owner, lost)
		}
	}
}

// What restore does after a flush works, and each port leads to who had it.
func TestRestoreAfterAFlush(t *testing.T) {
	for _, chain := range flushable() {
		k := crowded(t)
		k["nat"][chain] = nil
		late := many("late", hostport.TCP, 8001)
		have := k.seenBy(t, late)
		k.apply(t, Diff(have, have.Put(late, Node{})))
		have = k.layout(t, v4)
		l := have
		for i := range uint16(60) {
			if a := many(fmt.Sprint(i), hostport.TCP, 8000+3*i); len(have.Check(a, nil)) > 0 {
				l = l.Put(a, Node{})
			}
		}
		k.apply(t, Diff(have, l))
		for i := range uint16(60) {
			a := many(fmt.Sprint(i), hostport.TCP, 8000+3*i)
			keys, _ := k.reached(t, hostport.TCP, 8000+3*i)
			if lost := k.layout(t, v4).Check(a, nil); len(lost) > 0 || !slices.Equal(keys, []string{a.Owner.Key()}) {
				t.Errorf("%s flushed: %d reaches %q, lost %q", chain, 8000+3*i, keys, lost)
			}
		}
	}
}

// A DEL that finds somebody without a record reads everything.
func TestSomebodyWithoutARecord(t *testing.T) {
	k := crowded(t)
	a, lost := many("7", hostport.TCP, 8021), many("8", hostport.TCP, 8024)
	var others []hostport.Attachment
	for i := range uint16(60) {
		if o := many(fmt.Sprint(i), hostport.TCP, 8000+3*i); !o.Owner.Same(a.Owner) {
			others = append(others, o)
		}
	}
	l := k.part(t, v4, many("x", hostport.TCP, 8021))
	l.tables["nat"].chains[masq] = k["nat"][masq]
	if !l.Among(others, a.Owner.Key()) {
		t.Error("somebody is not known")
	}
	if l.Among(slices.DeleteFunc(others, func(o hostport.Attachment) bool { return o.Owner.Same(lost.Owner) }), a.Owner.Key()) {
		t.Error("one without a record was not noticed")
	}
}

// iptables does not find some rules again by their text: they go all the same, and
// others may be cut off from them.
func TestConditionsThatCannotBeDeleted(t *testing.T) {
	k := foreign()
	before := k.save()
	odd := many("odd", hostport.TCP, 8000, 8300)
	odd.ConditionsV4 = []string{"-m", "recent", "--rcheck", "--name", "x"}
	all := []hostport.Attachment{odd}
	k.put(t, v4, odd, Node{})
	for i := range uint16(2 * crowd) {
		a := many(fmt.Sprint(i), hostport.TCP, 8001+i)
		all = append(all, a)
		have := k.seenBy(t, a)
		k.apply(t, Diff(have, have.Put(a, Node{})))
	}
	for _, a := range all {
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
