// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// Check compares what the attachment must have with what is there, by content
// and order, and returns one line for each thing that is lost. Rules of other
// attachments do not matter. Sets are those of ServiceSets that exist.
func (l *Layout) Check(a hostport.Attachment, sets []Set) []string { return l.compare(a, sets, true) }

// Lost is Check without jumps that are there in the wrong place: the mapping works.
func (l *Layout) Lost(a hostport.Attachment, sets []Set) []string { return l.compare(a, sets, false) }

func (l *Layout) compare(a hostport.Attachment, sets []Set, places bool) []string {
	// The guard remembers what the node was like: that stays as it is.
	want := empty(l.Family)
	want.specs, want.texts = l.specs, l.texts
	want = want.Put(a, Node{Sets: sets, RouteLocalnet: l.Guarded()})
	var lost []string
	for _, name := range tableNames() {
		h, w := l.tables[name], want.tables[name]
		for _, chain := range w.sortedChains() {
			var problems []string
			switch _, ranged := spanOf(chain); {
			case chain == hostports:
				problems = l.compareEntries(a, sets)
			case !ranged: // those are on the way from there
				problems = l.compareChain(chain, h, w.chains[chain])
			}
			for _, p := range problems {
				lost = append(lost, fmt.Sprintf("%s table %s: %s", l.Family, name, p))
			}
		}
		for _, b := range bases(l.Family, want.near(), want.masqueraded()) {
			if b.table == name && len(w.jumps[b.name]) > 0 {
				if p, there := checkBase(h, b); p != "" && (places || !there) {
					lost = append(lost, fmt.Sprintf("%s table %s: %s", l.Family, name, p))
				}
			}
		}
	}
	return lost
}

// Misplaced returns one line for each jump of ours that is lost or in the wrong
// place.
func (l *Layout) Misplaced() []string {
	var out []string
	for _, b := range bases(l.Family, l.near(), l.masqueraded()) {
		t := l.tables[b.table]
		if _, used := t.chains[b.chain]; !used {
			continue
		}
		if p, _ := checkBase(t, b); p != "" {
			out = append(out, fmt.Sprintf("table %s: %s", b.table, p))
		}
	}
	return out
}

// checkBase says what is wrong with our jumps in a base chain, and whether they are
// there.
func checkBase(t *table, b base) (problem string, there bool) {
	for _, w := range b.ways {
		place := b.place(t, w)
		switch {
		case place < 0:
			return fmt.Sprintf("the jump from %s to %s is missing", b.name, b.chain), false
		case !b.misplaced(t.foreign[b.name], place, w):
		case b.first:
			problem = fmt.Sprintf("the jump from %s to %s stands behind a rule that ends the walk", b.name, b.chain)
		default:
			problem = fmt.Sprintf("the jump from %s to %s stands before KUBE-SERVICES", b.name, b.chain)
		}
	}
	return problem, true
}

// place is where the first jump of w stands, -1 if there is none. One from a network
// that holds w's source does too.
func (b base) place(t *table, w way) int {
	for _, j := range t.jumps[b.name] {
		o, _ := iptsave.Rule{Text: j.text}.Spec().Option("-s")
		p, _ := netip.ParsePrefix(o.Value())
		wider := !p.IsValid() || p.Bits() <= w.source.Bits() && p.Contains(w.source.Addr())
		if text := canonical(j.text); text == canonical(b.rule(w)) || wider && text == canonical(b.rule(way{p, w.match})) {
			return j.index
		}
	}
	return -1
}

// compareChain wants the whole content of an attachment's chain, and of a
// shared one only the rules that are this attachment's.
func (l *Layout) compareChain(name string, t *table, want []string) []string {
	have, ok := t.chains[name]
	if !ok {
		return []string{fmt.Sprintf("chain %s is missing", name)}
	}
	same := func(h, w string) bool { return l.canonical(h) == l.canonical(w) }
	var lost []string
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h string) bool { return same(h, w) }) {
			lost = append(lost, lacks(name, w))
		}
	}
	if len(lost) > 0 {
		return lost
	}
	if keyOf(name) == "" {
		return l.intruders(name, have)
	}
	if len(have) != len(want) {
		return []string{fmt.Sprintf("chain %s has %d rules, not %d", name, len(have), len(want))}
	}
	if !slices.EqualFunc(have, want, same) {
		return []string{fmt.Sprintf("chain %s has its rules in another order", name)}
	}
	return nil
}

func lacks(chain, rule string) string { return fmt.Sprintf("chain %s lacks the rule %q", chain, rule) }

// compareEntries wants the ways of an attachment's ports to lead to it, however
// the chains on them are cut, and nothing of others there.
func (l *Layout) compareEntries(a hostport.Attachment, sets []Set) (lost []string) {
	chains := l.tables["nat"].chains
	if _, ok := chains[hostports]; !ok {
		return []string{fmt.Sprintf("chain %s is missing", hostports)}
	}
	for _, w := range serviceRules(sets) {
		if !slices.ContainsFunc(chains[hostports], func(h string) bool { return l.canonical(h) == l.canonical(w) }) {
			lost = append(lost, lacks(hostports, w))
		}
	}
	var shared []string
	for _, e := range l.entries(a) {
		for i, chain := range e.way[1:] {
			s, _ := spanOf(chain)
			if !slices.ContainsFunc(chains[e.way[i]], func(r string) bool { return l.targetOf(r) == chain }) {
				lost = append(lost, lacks(e.way[i], s.jump()))
			}
		}
		var passed []string
		for _, chain := range e.way {
			passed = append(passed, chains[chain]...)
		}
		for _, w := range e.rules {
			if !l.enters(passed, w, len(a.Conditions(l.Family)) > 0) {
				lost = append(lost, lacks(e.way[len(e.way)-1], w))
			}
		}
		shared = append(shared, e.way...)
	}
	slices.Sort(shared)
	for _, chain := range slices.Compact(shared) {
		if len(lost) == 0 {
			lost = l.intruders(chain, chains[chain])
		}
	}
	return lost
}

// enters reports whether there are rules like want for all its ports. They may be
// spread: a chain that is cut in two cuts rules.
func (l *Layout) enters(have []string, want string, conditions bool) bool {
	left := l.ports(want)
	for _, h := range have {
		if l.sameRule(withPorts(h), withPorts(want), conditions) {
			ports := l.ports(h)
			left = slices.DeleteFunc(left, func(p uint16) bool { return slices.Contains(ports, p) })
		}
	}
	return len(left) == 0
}

// intruders are rules in a shared chain that no version of ours puts there.
func (l *Layout) intruders(name string, have []string) []string {
	var out []string
	for _, h := range have {
		s := l.spec(h)
		_, ranged := spanOf(s.Target)
		ours := ranged || keyOf(s.Target) != "" || strings.HasPrefix(s.Comment(), sharedComment)
		if !ours {
			out = append(out, fmt.Sprintf("chain %s holds somebody else's rule %q", name, h))
		}
	}
	return out
}

// sameRule compares two rules. iptables may print a user's conditions in other
// words (a host name, a port by name), so of a rule that holds some only our
// own part must be equal.
func (l *Layout) sameRule(have, want string, conditions bool) bool {
	if l.canonical(have) == l.canonical(want) {
		return true
	}
	h, w := l.spec(have), l.spec(want)
	if !conditions || h.Target != w.Target || len(h.Matches) < len(w.Matches) {
		return false
	}
	for _, name := range []string{"-p", "--comment"} {
		ho, _ := h.Option(name)
		wo, _ := w.Option(name)
		if ho.String() != wo.String() {
			return false
		}
	}
	return true
}
