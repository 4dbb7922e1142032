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
	want := empty(l.Family).Put(a, Node{Sets: sets, RouteLocalnet: l.Guarded()})
	var lost []string
	for _, name := range tableNames() {
		h, w := l.tables[name], want.tables[name]
		for _, chain := range w.sortedChains() {
			for _, p := range compareChain(chain, h, w.chains[chain], chain == hostports && len(a.Conditions(l.Family)) > 0) {
				lost = append(lost, fmt.Sprintf("%s table %s: %s", l.Family, name, p))
			}
		}
		for _, b := range bases(l.Family) {
			if b.table == name && len(w.jumps[b.name]) > 0 {
				if p, there := checkBase(h, b, l.masqueraded()); p != "" && (places || !there) {
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
	for _, b := range bases(l.Family) {
		t := l.tables[b.table]
		if _, used := t.chains[b.chain]; !used {
			continue
		}
		if p, _ := checkBase(t, b, l.masqueraded()); p != "" {
			out = append(out, fmt.Sprintf("table %s: %s", b.table, p))
		}
	}
	return out
}

// checkBase says what is wrong with our jump in a base chain, and whether it is there.
func checkBase(t *table, b base, sources []netip.Prefix) (problem string, there bool) {
	for _, j := range t.jumps[b.name] {
		if canonical(j.text) != canonical(b.rule()) {
			continue
		}
		if !b.misplaced(t.foreign[b.name], j.index, sources) {
			return "", true
		}
		if b.first {
			return fmt.Sprintf("the jump from %s to %s stands behind a rule that ends the walk", b.name, b.chain), true
		}
		return fmt.Sprintf("the jump from %s to %s stands before KUBE-SERVICES", b.name, b.chain), true
	}
	return fmt.Sprintf("the jump from %s to %s is missing", b.name, b.chain), false
}

// compareChain wants the whole content of an attachment's chain, and of a
// shared one only the rules that are this attachment's. With conditions only our
// own part of a rule is compared.
func compareChain(name string, t *table, want []string, conditions bool) []string {
	have, ok := t.chains[name]
	if !ok {
		return []string{fmt.Sprintf("chain %s is missing", name)}
	}
	var lost []string
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h string) bool { return sameRule(h, w, conditions) }) {
			lost = append(lost, fmt.Sprintf("chain %s lacks the rule %q", name, w))
		}
	}
	if len(lost) > 0 {
		return lost
	}
	if keyOf(name) == "" {
		return intruders(name, have)
	}
	if len(have) != len(want) {
		return []string{fmt.Sprintf("chain %s has %d rules, not %d", name, len(have), len(want))}
	}
	if !slices.EqualFunc(have, want, func(h, w string) bool { return sameRule(h, w, conditions) }) {
		return []string{fmt.Sprintf("chain %s has its rules in another order", name)}
	}
	return nil
}

// intruders are rules in a shared chain that no version of ours puts there.
func intruders(name string, have []string) []string {
	var out []string
	for _, h := range have {
		s := iptsave.Rule{Text: h}.Spec()
		ours := keyOf(s.Target) != "" || strings.HasPrefix(s.Comment(), sharedComment)
		if !ours {
			out = append(out, fmt.Sprintf("chain %s holds somebody else's rule %q", name, h))
		}
	}
	return out
}

// sameRule compares two rules. iptables may print a user's conditions in other
// words (a host name, a port by name), so of a rule that holds some only our
// own part must be equal.
func sameRule(have, want string, conditions bool) bool {
	if canonical(have) == canonical(want) {
		return true
	}
	h, w := iptsave.Rule{Text: have}.Spec(), iptsave.Rule{Text: want}.Spec()
	if !conditions || h.Target != w.Target || len(h.Matches) < len(w.Matches) {
		return false
	}
	for _, name := range []string{"-p", "--dports", "--comment"} {
		ho, _ := h.Option(name)
		wo, _ := w.Option(name)
		if ho.String() != wo.String() {
			return false
		}
	}
	return true
}
