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

// A life is a node on which pods of all kinds come and go.
type life struct {
	*testing.T
	k    fake
	r    *rand.Rand
	live map[string]hostport.Attachment
}

// others are those that live, without one.
func (l *life) others(key string) []hostport.Attachment {
	rest := maps.Clone(l.live)
	delete(rest, key)
	return slices.Collect(maps.Values(rest))
}

// newcomer is a random attachment with ports that nobody else has.
func (l *life) newcomer() hostport.Attachment {
	r := l.r
	a := many(fmt.Sprint(r.IntN(90)), hostport.TCP)
	a.Pods = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(6)), 0, byte(1 + r.IntN(200))}), 16+r.IntN(2)*16)}
	n, base := 1+r.IntN(4), []int{0, 100, 8000, 40000, 65400}[r.IntN(5)]
	if r.IntN(10) == 0 {
		n = 20 + r.IntN(100)
	}
	for range n {
		ip := []string{"", "", fmt.Sprintf("192.0.2.%d", 1+r.IntN(9))}[r.IntN(3)]
		port := min(65535, base+r.IntN(100+n))
		m := mapping(4, ip, []hostport.Proto{hostport.TCP, hostport.UDP, hostport.SCTP}[r.IntN(3)], uint16(port), 80)
		taken := func(o hostport.Attachment) bool { return slices.ContainsFunc(o.Mappings, m.Overlaps) }
		if !taken(a) && !slices.ContainsFunc(l.others(a.Owner.Key()), taken) {
			a.Mappings = append(a.Mappings, m)
		}
	}
	a.ConditionsV4 = [][]string{nil, nil, {"!", "-s", "198.51.100.0/24"}, {"-m", "recent", "--rcheck"}, {"-m", "multiport", "--dports", "1:9000"}}[r.IntN(5)]
	if r.IntN(2) == 0 {
		a.Localhost, a.Link = true, fmt.Sprint("veth", r.IntN(5))
	}
	if a.SNAT, a.MasqAll = r.IntN(4) > 0, r.IntN(30) == 0; r.IntN(20) == 0 {
		a.Networks = nil
	}
	return a
}

// change applies a plan, and half of the time undoes it first.
func (l *life) change(have, want *Layout) {
	l.Helper()
	before := l.k.save()
	l.k.apply(l, Diff(have, want))
	if l.r.IntN(2) == 0 {
		now := l.k.layout(l, v4)
		l.k.apply(l, Diff(now, have))
		if diff := cmp.Diff(before, l.k.save()); diff != "" {
			l.Fatalf("undone (-want +got)\n%s", diff)
		}
		l.k.apply(l, Diff(have, want))
	}
}

// step adds a pod, again perhaps, or removes one.
func (l *life) step() {
	l.Helper()
	if keys := slices.Sorted(maps.Keys(l.live)); len(keys) > 0 && l.r.IntN(3) == 0 {
		key := keys[l.r.IntN(len(keys))]
		have := l.k.layout(l, v4)
		l.change(have, have.Remove(key))
		delete(l.live, key)
		return
	}
	if a := l.newcomer(); len(a.Mappings) > 0 {
		have := l.k.layout(l, v4)
		l.change(have, have.Put(nil, a))
		l.live[a.Owner.Key()] = a
	}
}

// whole checks that everybody has what is his, and nobody else gets it.
func (l *life) whole() {
	l.Helper()
	lay := l.k.layout(l, v4)
	want := 0
	for _, a := range l.live {
		want += len(a.Mappings)
	}
	if got := len(lay.Claims()); got != want {
		l.Errorf("%d claims, want %d", got, want)
	}
	links := lay.Links()
	for key, a := range l.live {
		if slices.Contains(links[a.Link], key) != a.Localhost {
			l.Errorf("%s: links are %v", a.Owner, links)
		}
		if lost := lay.Check(a, nil); len(lost) > 0 {
			l.Errorf("%s lost %q", a.Owner, lost)
		}
		for _, m := range a.Mappings[:min(3, len(a.Mappings))] {
			keys := l.k.reached(l, m.Proto, m.HostPort)
			if !slices.Contains(keys, key) {
				l.Errorf("%s reaches %q, want %s", m, keys, key)
			}
			for _, other := range keys {
				if !slices.ContainsFunc(l.live[other].Mappings, func(o hostport.Mapping) bool { return o.Proto == m.Proto && o.HostPort == m.HostPort }) {
					l.Errorf("%s leads to %s, who has not asked for it", m, other)
				}
			}
		}
	}
}

// However many come and go, each port leads to who has it and to nobody else; every
// change can be undone; and in the end nothing is left.
func TestLives(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l := &life{t, foreign(), rand.New(rand.NewPCG(seed, 99)), map[string]hostport.Attachment{}}
			for i := range 50 {
				l.step()
				if i%25 == 24 {
					l.whole()
				}
			}
			for key := range l.live {
				have := l.k.layout(t, v4)
				l.k.apply(t, Diff(have, have.Remove(key)))
				delete(l.live, key)
			}
			end := foreign()
			slices.Sort(end["nat"]["POSTROUTING"])
			slices.Sort(l.k["nat"]["POSTROUTING"]) // what stood there moved behind ours
			if diff := cmp.Diff(end.save(), l.k.save()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
