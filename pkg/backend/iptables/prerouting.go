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

// A prerouting is chain PREROUTING of table mangle, and the guard's, which it leads to.
// The guard's drops what comes in over each of its links (CVE-2020-8558) and remembers
// whether the sysctl was on before.
type prerouting struct {
	// there is set if the guard's chain is.
	there       bool
	head, guard []line
	// native is why iptables cannot show them.
	native error
}

// wasPrefix begins the comment that remembers what the sysctl was.
const wasPrefix = "portguard route_localnet was "

// jumps lead to the guard. What the node sends to itself need not pass it.
func jumps() []string {
	const tail = " ! -i lo -m comment --comment portguard -j " + ruleset.Guard
	return []string{"-d 127.0.0.0/8" + tail, "-s 127.0.0.0/8" + tail}
}

// guardRules are those of the guard's chain.
func guardRules(want map[string]localnet.Link) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		was := 0
		if want[name].Was {
			was = 1
		}
		out = append(out, iptsave.Join("-i", name, "-m", "comment", "--comment", fmt.Sprint(wasPrefix, was), "-j", "DROP"))
	}
	return out
}

// link reads a rule of the guard's chain.
func (l line) link() (name string, was, ok bool) {
	in, _ := l.Option("-i")
	n, drop := strings.CutPrefix(l.Comment(), wasPrefix)
	return in.Value(), n == "1", drop && l.Target == "DROP" && in.Value() != "" && !in.Not
}

// links are those that are guarded.
func (p prerouting) links() map[string]localnet.Link {
	out := map[string]localnet.Link{}
	for _, r := range p.guard {
		if name, was, ok := r.link(); ok {
			out[name] = localnet.Link{Was: was || out[name].Was}
		}
	}
	return out
}

// broken says what is not as it must be.
func (p prerouting) broken() []string {
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
	for _, j := range jumps() {
		switch at := slices.IndexFunc(p.head, func(l line) bool { return l.Canonical() == iptsave.Canonical(j) }); {
		case at < 0:
			out = append(out, "the jump from PREROUTING to "+ruleset.Guard+" is missing")
		case slices.ContainsFunc(p.head[:at], func(l line) bool { return l.Target != ruleset.Guard && ends(l.Target) }):
			out = append(out, "the jump from PREROUTING to "+ruleset.Guard+" stands behind a rule that ends the walk")
		}
	}
	return slices.Compact(out)
}

// said are the rules of the guard's chain in canonical words, with the place of each.
func (p prerouting) said() map[string]int {
	out := map[string]int{}
	for i, l := range slices.Backward(p.guard) {
		out[l.Canonical()] = i
	}
	return out
}

// ends reports whether a verdict keeps packets from what comes behind.
func ends(target string) bool { return target == "ACCEPT" || target == "RETURN" }

// script makes the chain what is wanted.
func (p prerouting) script(want map[string]localnet.Link) string {
	out := []string{"*mangle"}
	for _, l := range p.head {
		if l.Target == ruleset.Guard {
			out = append(out, "-D PREROUTING "+l.Text())
		}
	}
	if len(want) == 0 {
		out = append(out, "-F "+ruleset.Guard, "-X "+ruleset.Guard)
	} else {
		out = append(out, ":"+ruleset.Guard+" - [0:0]")
		for _, r := range guardRules(want) {
			out = append(out, "-A "+ruleset.Guard+" "+r)
		}
		for _, j := range jumps() {
			out = append(out, "-I PREROUTING 1 "+j)
		}
	}
	return strings.Join(append(out, "COMMIT\n"), "\n")
}

// shrink removes from a table that iptables cannot show what is not wanted any more.
func (p prerouting) shrink(want map[string]localnet.Link) (*nft.Batch, error) {
	b, t, have := &nft.Batch{}, mangle(), p.links()
	for name := range want {
		if _, ok := have[name]; !ok {
			return nil, p.native
		}
	}
	if len(want) == 0 {
		for _, l := range p.head {
			if l.Target == ruleset.Guard {
				b.DeleteRule(t, "PREROUTING", l.handle)
			}
		}
		b.DeleteChain(t, ruleset.Guard)
		return b, nil
	}
	for _, r := range p.guard {
		name, _, ok := r.link()
		if _, keep := want[name]; ok && !keep {
			b.DeleteRule(t, ruleset.Guard, r.handle)
		}
	}
	return b, nil
}
