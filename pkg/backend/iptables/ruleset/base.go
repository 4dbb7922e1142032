// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A base is a base chain of nat: where our jumps to chain go.
type base struct {
	name, chain string
	// ways are the packets that must get to the chain, each with a jump of its own.
	ways []way
	// first asks for the head of the chain, otherwise for the end.
	first bool
	// from are what comes from there, as far as it is known.
	from []netip.Prefix
}

// A way is what a jump matches: packets from source, if that is a network, and match.
type way struct {
	source netip.Prefix
	match  string
}

// bases are the base chains, as the attachments need them.
func (l *Layout) bases() []base {
	const local = "-m addrtype --dst-type LOCAL"
	in := local
	if l.Family == hostport.IPv4 {
		// Only the node itself reaches what is mapped at 127.0.0.1. The kernel drops
		// what comes in for it when it routes: too late for what has been translated.
		in = "! -d 127.0.0.0/8 " + local
	}
	from := l.masqueraded()
	post := base{name: "POSTROUTING", chain: masq, first: true, from: from}
	for _, s := range l.near(from) {
		post.ways = append(post.ways, way{s, "-m conntrack --ctstate DNAT"})
	}
	return []base{
		{name: "PREROUTING", chain: incoming, ways: []way{{match: in}}},
		{name: "OUTPUT", chain: hostports, ways: []way{{match: local}}},
		post,
	}
}

// leads is the chain that b's jumps lead to in the end.
func (b base) leads() string {
	if b.chain == incoming {
		return hostports
	}
	return b.chain
}

// rule is the jump of w.
func (b base) rule(w way) string {
	rule := w.match + " -m comment --comment " + sharedComment + " -j " + b.chain
	if w.source.Bits() > 0 {
		rule = "-s " + w.source.String() + " " + rule
	}
	return rule
}

// find returns the jumps of w among js.
func (b base) find(js []jump, w way) []jump {
	want := iptsave.Canonical(b.rule(w))
	return slices.DeleteFunc(slices.Clone(js), func(j jump) bool { return iptsave.Canonical(j.text) != want })
}

// misplaced reports whether our jump of w, the rule at place, stands before
// KUBE-SERVICES (PREROUTING, OUTPUT) or behind a rule that takes its packets
// (POSTROUTING).
func (b base) misplaced(rules []iptsave.Spec, place int, w way) bool {
	from := slices.DeleteFunc(slices.Clone(b.from), func(p netip.Prefix) bool { return !w.source.Contains(p.Addr()) })
	if len(from) == 0 && w.source.Bits() > 0 {
		from = []netip.Prefix{w.source}
	}
	for i, s := range rules {
		if !b.first && i > place && s.Target == "KUBE-SERVICES" {
			return true
		}
		if b.first && i < place && endsBeforeUs(s, from) {
			return true
		}
	}
	return false
}

// endsBeforeUs reports whether a rule at the head of a chain may keep packets of
// sources from ours: a verdict, or the chains of the bridge and ptp plugins
// ("CNI-<hash>", which accept what stays on the pod network).
func endsBeforeUs(s iptsave.Spec, sources []netip.Prefix) bool {
	switch {
	case s.Target == "ACCEPT" || s.Target == "MASQUERADE" || s.Target == "SNAT":
	case strings.HasPrefix(s.Target, "CNI-") && !strings.HasPrefix(s.Target, "CNI-HOSTPORT-"):
	default:
		return false
	}
	src, ok := s.Option("-s")
	p, err := netip.ParsePrefix(src.Value())
	return !ok || src.Not || err != nil || slices.ContainsFunc(sources, p.Overlaps)
}

// settleBase makes base chain b hold exactly its jumps, in their place, if their target
// exists, and none otherwise. A jump that is right is left alone.
func (l *Layout) settleBase(b base) {
	js := l.jumps[b.name]
	delete(l.jumps, b.name)
	if _, ok := l.chains[b.chain]; !ok {
		return
	}
	var kept, fresh []jump
	for _, w := range b.ways {
		if there := b.find(js, w); len(there) == 1 && !b.misplaced(l.foreign[b.name], there[0].index, w) {
			kept = append(kept, there[0])
		} else {
			fresh = append(fresh, jump{text: b.rule(w), index: -1})
		}
	}
	l.jumps[b.name] = append(kept, fresh...)
}
