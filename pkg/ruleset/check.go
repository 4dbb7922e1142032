// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// Check compares what the attachment must have with what is there, by content
// and order, and returns one line for each thing that is lost. Rules of other
// attachments do not matter.
func (l *Layout) Check(a hostport.Attachment) []string {
	// Sets and guards depend on the node: they stay as they are.
	want := empty(l.Family).Put(a, Node{RouteLocalnet: l.Guarded()})
	var lost []string
	for _, name := range tableNames() {
		h, w := l.tables[name], want.tables[name]
		for _, chain := range w.sortedChains() {
			for _, p := range compareChain(chain, h, w.chains[chain], a.Conditions(l.Family)) {
				lost = append(lost, fmt.Sprintf("%s table %s: %s", l.Family, name, p))
			}
		}
		for _, b := range bases(l.Family) {
			if b.table == name && len(w.jumps[b.name]) > 0 {
				if p := checkBase(h, b); p != "" {
					lost = append(lost, fmt.Sprintf("%s table %s: %s", l.Family, name, p))
				}
			}
		}
	}
	return lost
}

func checkBase(t *table, b base) string {
	for _, j := range t.jumps[b.name] {
		if canonical(j.text) != canonical(b.rule()) {
			continue
		}
		if !t.misplaced[b.name] {
			return ""
		}
		if b.first {
			return fmt.Sprintf("the jump from %s to %s stands behind a rule that ends the walk", b.name, b.chain)
		}
		return fmt.Sprintf("the jump from %s to %s stands before KUBE-SERVICES", b.name, b.chain)
	}
	return fmt.Sprintf("the jump from %s to %s is missing", b.name, b.chain)
}

// compareChain wants the whole content of an attachment's chain, and of a
// shared one only the rules that are this attachment's.
func compareChain(name string, t *table, want, conditions []string) []string {
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
	if len(lost) > 0 || keyOf(name) == "" {
		return lost
	}
	if len(have) != len(want) {
		return []string{fmt.Sprintf("chain %s has %d rules, not %d", name, len(have), len(want))}
	}
	if !slices.EqualFunc(have, want, func(h, w string) bool { return sameRule(h, w, conditions) }) {
		return []string{fmt.Sprintf("chain %s has its rules in another order", name)}
	}
	return nil
}

// sameRule compares two rules. iptables may print a user's conditions in other
// words (a host name, a port by name), so of a rule that holds some only our
// own part must be equal.
func sameRule(have, want string, conditions []string) bool {
	if canonical(have) == canonical(want) {
		return true
	}
	if len(conditions) == 0 {
		return false
	}
	h, w := iptsave.Rule{Text: have}.Spec(), iptsave.Rule{Text: want}.Spec()
	if h.Target != w.Target || len(h.Matches) < len(w.Matches) {
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
