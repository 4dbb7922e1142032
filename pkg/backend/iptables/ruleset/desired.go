// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// Put returns l with the attachments' rules as they must be, replacing those they have, and
// with everything they share in its place. Sets are those of ServiceSets that exist.
func (l *Layout) Put(sets []Set, as ...hostport.Attachment) *Layout {
	d := l.clone()
	for _, a := range as {
		d.put(a)
	}
	d.services(sets)
	d.evict()
	d.settle()
	return d
}

// evict drops what others have put into the shared chains and only keeps packets from what comes
// after it. What translates somewhere is a claim, and stays.
func (l *Layout) evict() {
	for _, chain := range []string{hostports, masq} {
		stray := func(r *rule) bool {
			return keyOf(r.target()) == "" && (r.target() == "ACCEPT" || chain == masq && r.target() == "RETURN")
		}
		if slices.ContainsFunc(l.chains[chain], stray) {
			l.chains[chain] = slices.DeleteFunc(slices.Clone(l.chains[chain]), stray)
		}
	}
}

func (l *Layout) put(a hostport.Attachment) {
	key, own := a.Owner.Key(), ownChains(a, l.Family)
	maps.DeleteFunc(l.chains, func(name string, _ []*rule) bool { return keyOf(name) == key && own[name] == nil })
	for name, rules := range own {
		if !sameRules(l.chains[name], rules) {
			l.chains[name] = rules
		}
	}
	l.lead(hostports, key, entries(a, l.Family))
	l.lead(masq, key, masqJumps(a, l.Family))
}

// Remove returns l without the attachments with those keys, and without what
// nobody shares any more.
func (l *Layout) Remove(keys ...string) *Layout {
	d := l.clone()
	d.remove(keys...)
	d.settle()
	return d
}

func (l *Layout) remove(keys ...string) {
	if len(keys) == 0 {
		return
	}
	gone := func(chain string) bool { return slices.Contains(keys, keyOf(chain)) && keyOf(chain) != "" }
	maps.DeleteFunc(l.chains, func(name string, _ []*rule) bool { return gone(name) })
	for _, chain := range []string{hostports, masq} {
		if rules, ok := l.chains[chain]; ok {
			l.chains[chain] = slices.DeleteFunc(slices.Clone(rules), func(r *rule) bool { return gone(r.target()) })
		}
	}
}

// lead makes a shared chain lead to an attachment with exactly those rules. If they are
// there they keep their place.
func (l *Layout) lead(chain, key string, want []*rule) {
	have := slices.DeleteFunc(slices.Clone(l.chains[chain]), func(r *rule) bool { return keyOf(r.target()) != key })
	if sameRules(have, want) {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(l.chains[chain]), func(r *rule) bool { return keyOf(r.target()) == key })
	l.chains[chain] = append(rest, want...)
}

// Within returns l with what leaves all destinations alone but those.
func (l *Layout) Within(within addrset.Set) *Layout {
	d := l.clone()
	d.head(func(sets, _ []*rule) ([]*rule, []*rule) { return sets, gapRules(within, l.Family) })
	return d
}

// services puts the rules that spare Services first and drops old ones.
func (l *Layout) services(sets []Set) {
	l.head(func(_, gaps []*rule) ([]*rule, []*rule) { return serviceRules(sets), gaps })
}

// head changes what stands before everything that leads to attachments: rules that leave
// members of ipsets alone, and those that leave ranges. What is there as it must be stays.
func (l *Layout) head(change func(sets, gaps []*rule) (wantSets, wantGaps []*rule)) {
	rules, ok := l.chains[hostports]
	if !ok {
		return
	}
	var sets, gaps, rest []*rule
	for _, r := range rules {
		switch {
		case r.target() != "RETURN":
			rest = append(rest, r)
		case isGap(r):
			gaps = append(gaps, r)
		default:
			sets = append(sets, r)
		}
	}
	wantSets, wantGaps := change(sets, gaps)
	want := slices.Concat(wantSets, wantGaps)
	if !sameRules(rules[:min(len(want), len(rules))], want) || len(want)+len(rest) != len(rules) {
		l.chains[hostports] = append(want, rest...)
	}
}

// settle drops shared chains that lead to nobody, and makes the jumps fit.
func (l *Layout) settle() {
	for _, chain := range []string{hostports, masq} {
		if !slices.ContainsFunc(l.chains[chain], func(r *rule) bool { return keyOf(r.target()) != "" }) {
			delete(l.chains, chain)
		}
	}
	l.settleIncoming()
	for _, b := range l.bases() {
		l.settleBase(b)
	}
}

// masqueraded are the sources that the attachments masquerade.
func (l *Layout) masqueraded() []netip.Prefix {
	var out []netip.Prefix
	seen := map[netip.Prefix]bool{}
	for _, chain := range l.named(func(c string) bool { return strings.HasPrefix(c, masqPrefix) }) {
		for _, r := range l.chains[chain] {
			if r.target() != "MASQUERADE" {
				continue
			}
			if p := r.source(l.Family); p.IsValid() && !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	return out
}

// mostNear is the most jumps that single networks get in POSTROUTING.
const mostNear = 4

// near are the sources of packets that may have to be masqueraded: the pods'
// networks and 127.0.0.0/8. Connections from elsewhere need not ask the rules of
// every pod. Many networks are one of all addresses.
func (l *Layout) near(masqueraded []netip.Prefix) []netip.Prefix {
	widest := slices.Clone(masqueraded)
	sort.SliceStable(widest, func(i, j int) bool { return widest[i].Bits() < widest[j].Bits() }) // SortStableFunc is 10 KB for each type
	var out []netip.Prefix
	for _, p := range widest {
		if slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Contains(p.Addr()) }) {
			continue
		}
		if out = append(out, p); len(out) > mostNear {
			return []netip.Prefix{netip.PrefixFrom(l.Family.Wildcard(), 0)}
		}
	}
	return out
}
