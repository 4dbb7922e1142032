// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

// part reads what an ADD of a needs, as the plugin does.
func (k fake) part(t testing.TB, f hostport.Family, a hostport.Attachment) *Layout {
	t.Helper()
	names, beside, ok := Concerning(a, f, slices.Sorted(maps.Keys(k["nat"])))
	if !ok {
		t.Fatal("it has rules already")
	}
	beside = slices.DeleteFunc(beside, func(c string) bool { return Others(c, a.Owner.Key()) })
	read := fake{"nat": {}, "mangle": k["mangle"]}
	for _, chain := range names {
		read["nat"][chain] = k["nat"][chain]
	}
	l := read.layout(t, f)
	l.Beside(beside...)
	return l
}

// An ADD that knows a part makes the same rules as one that knows all.
func TestAPartIsEnoughForAnAdd(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 3))
		whole, part := foreign(), foreign()
		for i := range 70 {
			a := many(fmt.Sprint(i), hostport.TCP)
			for j := range 1 + r.IntN(5) {
				a.Mappings = append(a.Mappings, mapping(4, "", hostport.Proto([]hostport.Proto{hostport.TCP, hostport.UDP}[r.IntN(2)]), uint16(i*5+j), 80))
			}
			if r.IntN(2) == 0 {
				a.Localhost, a.Link = true, fmt.Sprint("veth", r.IntN(3))
			}
			a.SNAT, a.MasqAll = r.IntN(3) > 0, r.IntN(30) == 0
			n := Node{Sets: ServiceSets(v4)[:r.IntN(2)]}
			have := part.part(t, v4, a)
			if !have.Enough(a.Mappings) {
				t.Fatalf("seed %d: somebody has %v already", seed, a.Mappings)
			}
			part.apply(t, Diff(have, have.Put(a, n)))
			whole.put(t, v4, a, n)
			if diff := cmp.Diff(whole.save(), part.save()); diff != "" {
				t.Fatalf("seed %d, %d (-whole +part)\n%s", seed, i, diff)
			}
			rival := a
			rival.Owner.ContainerID = "rival"
			if l := part.part(t, v4, rival); l.Enough(a.Mappings) {
				t.Fatalf("seed %d: nothing leads to %v", seed, a.Mappings)
			}
		}
	}
}

// A DEL that knows a part, and who else is there, leaves what one leaves that knows all.
func TestAPartIsEnoughForADel(t *testing.T) {
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 5))
		whole, part := foreign(), foreign()
		live := map[string]hostport.Attachment{}
		for i := range 60 {
			a := many(fmt.Sprint(i), hostport.TCP)
			a.Pods = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(6)), 0, byte(i + 1)}), 16)}
			for j := range 1 + r.IntN(5) {
				a.Mappings = append(a.Mappings, mapping(4, "", hostport.Proto([]hostport.Proto{hostport.TCP, hostport.UDP}[r.IntN(2)]), uint16(i*5+j), 80))
			}
			if r.IntN(2) == 0 {
				a.Localhost, a.Link = true, fmt.Sprint("veth", r.IntN(9))
			}
			a.SNAT, a.MasqAll = r.IntN(3) > 0, r.IntN(30) == 0
			whole.put(t, v4, a, Node{})
			part.put(t, v4, a, Node{})
			live[a.Owner.Key()] = a
		}
		for _, key := range slices.Sorted(maps.Keys(live)) {
			a := live[key]
			delete(live, key)
			have := part.seen(t, a, slices.Collect(maps.Values(live)))
			part.apply(t, Diff(have, have.Remove(key)))
			whole.remove(t, v4, key)
			got, want := part.layout(t, v4), whole.layout(t, v4)
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want.Guarded())), slices.Sorted(maps.Keys(got.Guarded()))); diff != "" {
				t.Fatalf("seed %d: guarded links (-whole +part)\n%s", seed, diff)
			}
			// The order of jumps that come anew is that of the attachments.
			for _, k := range []fake{whole, part} {
				slices.Sort(k["nat"]["POSTROUTING"])
				slices.Sort(k["mangle"][guard])
			}
			if diff := cmp.Diff(whole.save(), part.save()); diff != "" {
				t.Fatalf("seed %d, %d left (-whole +part)\n%s", seed, len(live), diff)
			}
		}
		end := foreign()
		slices.Sort(end["nat"]["POSTROUTING"])
		if diff := cmp.Diff(end.save(), part.save()); diff != "" {
			t.Errorf("seed %d: in the end (-want +got)\n%s", seed, diff)
		}
	}
}

// seen reads what a DEL of a needs where others are.
func (k fake) seen(t testing.TB, a hostport.Attachment, others []hostport.Attachment) *Layout {
	t.Helper()
	l := k.belonging(t, a)
	if !l.Among(others, a.Owner.Key()) {
		t.Fatal("there are others")
	}
	return l
}

func (k fake) belonging(t testing.TB, a hostport.Attachment) *Layout {
	t.Helper()
	names, beside := Belonging(a, v4, slices.Sorted(maps.Keys(k["nat"])))
	read := fake{"nat": {}, "mangle": k["mangle"]}
	for _, chain := range names {
		read["nat"][chain] = k["nat"][chain]
	}
	l := read.layout(t, v4)
	l.Beside(slices.DeleteFunc(beside, func(c string) bool { return Others(c, a.Owner.Key()) })...)
	return l
}

// The way back from a change that knew a part.
func TestAPartIsUndone(t *testing.T) {
	k := crowded(t)
	before := k.save()
	a := many("new", hostport.TCP, 8001, 9000)
	have := k.part(t, v4, a)
	if !have.Part() {
		t.Fatal("all was read")
	}
	want := have.Put(a, Node{})
	k.apply(t, Diff(have, want))
	if k.save() == before {
		t.Fatal("nothing was put")
	}
	now := k.layout(t, v4)
	k.apply(t, Diff(now, have.Before(now, want)))
	if diff := cmp.Diff(before, k.save()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	// And where nothing has come of it.
	now = k.layout(t, v4)
	if plan := Diff(now, have.Before(now, want)); plan != "" {
		t.Errorf("the way back from nothing is\n%s", plan)
	}
}

// What cannot be read is removed by what ADD must have made.
func TestAnAttachmentGoesUnread(t *testing.T) {
	for name, k := range map[string]fake{"few": foreign(), "many": crowded(t)} {
		for _, a := range []hostport.Attachment{dualStack(), simple("x", "veth1", 8022), many("y", hostport.TCP, 8002, 8005, 8030, 9000)} {
			k.put(t, v4, simple("other", "veth1", 8023), Node{})
			before := k.save()
			k.put(t, v4, a, Node{})
			l := Assumed(a, v4, slices.Sorted(maps.Keys(k["nat"])))
			k.apply(t, Diff(l, l.Remove(a.Owner.Key())))
			if k.layout(t, v4).Has(a.Owner.Key()) {
				t.Errorf("%s: %s is still there\n%s", name, a.Owner, k.save())
			}
			if lost := k.layout(t, v4).Check(simple("other", "veth1", 8023), nil); len(lost) > 0 {
				t.Errorf("%s: another one lost %q", name, lost)
			}
			// With the rules in sight again nothing is left.
			k.remove(t, v4, a.Owner.Key())
			if diff := cmp.Diff(before, k.save()); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", name, diff)
			}
		}
	}
}

func TestWhatAnAddHasToKnow(t *testing.T) {
	a := dualStack()
	a.Mappings = []hostport.Mapping{mapping(4, "", hostport.TCP, 8021, 80), mapping(6, "", hostport.UDP, 53, 53)}
	other := simple("other", "", 80).Owner.Key()
	var all, want []string
	for _, c := range []struct {
		chain string
		read  bool
	}{
		{"PREROUTING", true}, {hostports, true}, {"PORTGUARD-OTHER", true}, {masq, false}, {dnatPrefix + other, false}, {masqPrefix + other, false},
		{"PORTGUARD-TCP-4096-8191", true}, {"PORTGUARD-TCP-8016-8031", true}, {"PORTGUARD-TCP-8000-8015", false},
		{"PORTGUARD-UDP-8016-8031", false}, {"PORTGUARD-UDP-48-63", false},
	} {
		if all = append(all, c.chain); c.read {
			want = append(want, c.chain)
		}
	}
	read, beside, ok := Concerning(a, v4, all)
	if diff := cmp.Diff(want, read); !ok || diff != "" || len(read)+len(beside) != len(all) {
		t.Errorf("beside %q (-want +got)\n%s", beside, diff)
	}
	for _, c := range []string{masqPrefix + a.Owner.Key(), dnatPrefix + a.Owner.Key()} {
		if _, _, ok = Concerning(a, v4, append(all, c)); ok || Others(c, a.Owner.Key()) {
			t.Errorf("with %s already", c)
		}
	}
	if !Others(dnatPrefix+other, a.Owner.Key()) || Others(hostports, "x") {
		t.Error("whose a chain is")
	}
}
