// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
)

// A mangling is what the guard has in table mangle: its chain, which drops what comes in
// over its links for or from 127.0.0.0/8 and answers nothing that the node sent
// (CVE-2020-8558), and those that lead to it. PREROUTING has packets before they are
// translated, INPUT after it. Where the kernel has nothing but iptables, nothing else
// changes an address.
type mangling struct {
	// there is set if the guard's chain is.
	there bool
	heads map[string][]line
	guard []line
	// native is why iptables cannot show them.
	native error
}

// hooks are the chains that lead to the guard.
func hooks() []string { return []string{"PREROUTING", "INPUT"} }

// guardComment is behind the rule of a link.
const guardComment = "portguard route_localnet"

// jumps lead to the guard. What the node sends to itself need not pass it.
func jumps() []string {
	const tail = " ! -i lo -m comment --comment portguard -j " + ruleset.Guard
	return []string{"-d 127.0.0.0/8" + tail, "-s 127.0.0.0/8" + tail}
}

// guardRules are those of the guard's chain.
func guardRules(want map[string]localnet.Link) []string {
	out := []string{"-m conntrack --ctdir REPLY -m comment --comment portguard -j RETURN"}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		out = append(out, iptsave.Join("-i", name, "-m", "comment", "--comment", guardComment, "-j", "DROP"))
	}
	return out
}

// link reads a rule of the guard's chain.
func (l line) link() (name string, ok bool) {
	in, _ := l.Option("-i")
	return in.Value(), l.Comment() == guardComment && l.Target == "DROP" && in.Value() != "" && !in.Not
}

// links are those that are guarded.
func (p mangling) links() map[string]localnet.Link {
	out := map[string]localnet.Link{}
	for _, r := range p.guard {
		if name, ok := r.link(); ok {
			out[name] = localnet.Link{}
		}
	}
	return out
}

// broken says what is not as it must be.
func (p mangling) broken() []string {
	var out []string
	want, said := guardRules(p.links()), p.said()
	for _, w := range want {
		switch at, there := said[iptsave.Canonical(w)]; {
		case !there:
			out = append(out, fmt.Sprintf("chain %s lacks the rule %q", ruleset.Guard, w))
		case at >= len(want):
			out = append(out, fmt.Sprintf("chain %s has its rules in another order", ruleset.Guard))
		}
	}
	for _, hook := range hooks() {
		for _, j := range jumps() {
			head := p.heads[hook]
			switch at := slices.IndexFunc(head, func(l line) bool { return l.Canonical() == iptsave.Canonical(j) }); {
			case at < 0:
				out = append(out, fmt.Sprintf("the jump from %s to %s is missing", hook, ruleset.Guard))
			case slices.ContainsFunc(head[:at], func(l line) bool { return l.Target != ruleset.Guard && ends(l.Target) }):
				out = append(out, fmt.Sprintf("the jump from %s to %s stands behind a rule that ends the walk", hook, ruleset.Guard))
			}
		}
	}
	return slices.Compact(out)
}

// said are the rules of the guard's chain in canonical words, with the place of each.
func (p mangling) said() map[string]int {
	out := map[string]int{}
	for i, l := range slices.Backward(p.guard) {
		out[l.Canonical()] = i
	}
	return out
}

// ends reports whether a verdict keeps packets from what comes behind.
func ends(target string) bool { return target == "ACCEPT" || target == "RETURN" }

// script makes the chain what is wanted.
func (p mangling) script(want map[string]localnet.Link) string {
	out := []string{"*mangle"}
	for _, hook := range hooks() {
		for _, l := range p.heads[hook] {
			if l.Target == ruleset.Guard {
				out = append(out, "-D "+hook+" "+l.Text())
			}
		}
	}
	if len(want) == 0 {
		out = append(out, "-F "+ruleset.Guard, "-X "+ruleset.Guard)
	} else {
		out = append(out, ":"+ruleset.Guard+" - [0:0]")
		for _, r := range guardRules(want) {
			out = append(out, "-A "+ruleset.Guard+" "+r)
		}
		for _, hook := range hooks() {
			for _, j := range jumps() {
				out = append(out, "-I "+hook+" 1 "+j)
			}
		}
	}
	return strings.Join(append(out, "COMMIT\n"), "\n")
}

// shrink removes from a table that iptables cannot show what is not wanted any more.
func (p mangling) shrink(want map[string]localnet.Link) (*nft.Batch, error) {
	b, t, have := &nft.Batch{}, mangle(), p.links()
	for name := range want {
		if _, ok := have[name]; !ok {
			return nil, p.native
		}
	}
	if len(want) == 0 {
		for _, hook := range hooks() {
			for _, l := range p.heads[hook] {
				if l.Target == ruleset.Guard {
					b.DeleteRule(t, hook, l.handle)
				}
			}
		}
		b.DeleteChain(t, ruleset.Guard)
		return b, nil
	}
	for _, r := range p.guard {
		name, ok := r.link()
		if _, keep := want[name]; ok && !keep {
			b.DeleteRule(t, ruleset.Guard, r.handle)
		}
	}
	return b, nil
}
