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
func (l *Layout) Check(a hostport.Attachment, sets []Set) []string {
	want := empty(l.Family).Put(sets, a)
	var lost []string
	for _, chain := range want.named(func(string) bool { return true }) {
		if keyOf(chain) == "" {
			lost = append(lost, l.checkShared(chain, a.Owner.Key(), want.chains[chain])...)
		} else {
			lost = append(lost, l.checkOwn(chain, want.chains[chain])...)
		}
	}
	for _, b := range want.bases() {
		if len(want.jumps[b.name]) == 0 {
			continue
		}
		if p, _ := l.checkBase(b); p != "" {
			lost = append(lost, p)
		}
	}
	for i := range lost {
		lost[i] = fmt.Sprintf("%s table nat: %s", l.Family, lost[i])
	}
	return lost
}

// Whole reports whether Check finds nothing. Of the attachment's own rules it compares the
// number and the targets: to decode them for each attachment takes too long where there are
// many.
func (l *Layout) Whole(a hostport.Attachment, sets []Set) bool {
	like := func(h, w *rule) bool { return h.target() == w.target() }
	for name, want := range ownChains(a, l.Family) {
		if !slices.EqualFunc(l.chains[name], want, like) {
			return false
		}
	}
	key := a.Owner.Key()
	for chain, want := range map[string][]*rule{hostports: entries(a, l.Family), masq: masqJumps(a, l.Family)} {
		if len(want) > 0 && (!l.sharedWhole(chain, sets) || !slices.EqualFunc(l.shared(chain).of[key], want, like)) {
			return false
		}
	}
	return true
}

// sharedWhole reports whether a shared chain has what all attachments need in it, the jumps
// to it, and nothing of a stranger.
func (l *Layout) sharedWhole(chain string, sets []Set) bool {
	whole, known := l.wholes[chain]
	if known {
		return whole
	}
	var want []*rule
	if chain == hostports {
		want = serviceRules(sets)
	}
	whole = slices.EqualFunc(l.shared(chain).rest, want, (*rule).same)
	for _, b := range l.bases() {
		if b.chain == chain && whole {
			p, _ := l.checkBase(b)
			whole = p == ""
		}
	}
	l.wholes[chain] = whole
	return whole
}

// Misplaced returns one line for each jump of ours that is lost, and for each in the
// wrong place, with which the mappings work.
func (l *Layout) Misplaced() (lost, moved []string) {
	for _, b := range l.bases() {
		if _, used := l.chains[b.leads()]; !used {
			continue
		}
		switch p, there := l.checkBase(b); {
		case p == "":
		case there:
			moved = append(moved, "table nat: "+p)
		default:
			lost = append(lost, "table nat: "+p)
		}
	}
	return lost, moved
}

// checkBase says what is wrong with our jumps in a base chain, and whether they are there.
func (l *Layout) checkBase(b base) (problem string, there bool) {
	for _, w := range b.ways {
		place, ok := b.place(l.jumps[b.name], w)
		switch {
		case !ok:
			return fmt.Sprintf("the jump from %s to %s is missing", b.name, b.chain), false
		case place < 0, !b.misplaced(l.foreign[b.name], place, w):
		case b.first:
			problem = fmt.Sprintf("the jump from %s to %s stands behind a rule that ends the walk", b.name, b.chain)
		default:
			problem = fmt.Sprintf("the jump from %s to %s stands before KUBE-SERVICES", b.name, b.chain)
		}
	}
	return problem, true
}

// place is where the first jump of w stands, -1 if that is where it will be put. One from a
// network that holds w's source does too.
func (b base) place(js []jump, w way) (index int, ok bool) {
	for _, j := range js {
		if j.text == b.rule(w) {
			return j.index, true
		}
		o, _ := iptsave.Rule{Text: j.text}.Spec().Option("-s")
		p, _ := netip.ParsePrefix(o.Value())
		wider := !p.IsValid() || p.Bits() <= w.source.Bits() && p.Contains(w.source.Addr())
		text := iptsave.Canonical(j.text)
		if text == iptsave.Canonical(b.rule(w)) || wider && text == iptsave.Canonical(b.rule(way{p, w.match})) {
			return j.index, true
		}
	}
	return 0, false
}

// checkOwn wants the whole content of an attachment's chain.
func (l *Layout) checkOwn(name string, want []*rule) (lost []string) {
	have, ok := l.chains[name]
	if !ok {
		return []string{fmt.Sprintf("chain %s is missing", name)}
	}
	same := (*rule).same
	if strings.HasPrefix(name, condPrefix) {
		same = sameButConditions
	}
	if slices.EqualFunc(have, want, same) {
		return nil
	}
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h *rule) bool { return same(h, w) }) {
			lost = append(lost, lacks(name, w))
		}
	}
	switch {
	case len(lost) > 0:
		return lost
	case len(have) != len(want):
		return []string{fmt.Sprintf("chain %s has %d rules, not %d", name, len(have), len(want))}
	}
	return []string{fmt.Sprintf("chain %s has its rules in another order", name)}
}

func lacks(chain string, r *rule) string {
	return fmt.Sprintf("chain %s lacks the rule %q", chain, r)
}

// checkShared wants of a shared chain the rules that lead to an attachment and those
// that spare Services, and none of a stranger.
func (l *Layout) checkShared(name, key string, want []*rule) (lost []string) {
	if _, ok := l.chains[name]; !ok {
		return []string{fmt.Sprintf("chain %s is missing", name)}
	}
	s := l.shared(name)
	for _, w := range want {
		have := s.rest
		if keyOf(w.target()) == key {
			have = s.of[key]
		}
		if !slices.ContainsFunc(have, w.same) {
			lost = append(lost, lacks(name, w))
		}
	}
	if len(lost) > 0 {
		return lost
	}
	for _, h := range s.rest {
		if !strings.HasPrefix(h.decoded().Comment(), sharedComment) {
			lost = append(lost, fmt.Sprintf("chain %s holds somebody else's rule %q", name, h))
		}
	}
	return lost
}

// sameButConditions compares two rules with conditions. iptables may print these in
// other words (a host name, a port by name), so only our own part must be equal.
func sameButConditions(have, want *rule) bool {
	if have.same(want) {
		return true
	}
	h, w := have.decoded(), want.decoded()
	if h.Target != w.Target || have.exact() && len(h.Matches) < len(w.Matches) {
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
