// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
)

// A prerouting is chain PREROUTING of table mangle, and the guard's, which it leads to.
// The guard's drops what comes in over each of its links (CVE-2020-8558) and remembers
// whether the sysctl was on before. Behind all drops, which let nothing of those links
// reach it, is one rule for each user.
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
	var drops, users []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		was := 0
		if want[name].Was {
			was = 1
		}
		drops = append(drops, iptsave.Join("-i", name, "-m", "comment", "--comment", fmt.Sprint(wasPrefix, was), "-j", "DROP"))
		for _, u := range want[name].Users {
			users = append(users, iptsave.Join("-i", name, "-m", "comment", "--comment", u.Tag, "-j", "DROP"))
		}
	}
	return append(drops, users...)
}

// link reads a rule of the guard's chain: one that drops for a link, or a user's.
func (l line) link() (name string, was bool, u localnet.User, ok bool) {
	in, _ := l.Option("-i")
	if l.Target != "DROP" || in.Value() == "" || in.Not {
		return "", false, u, false
	}
	if n, drop := strings.CutPrefix(l.Comment(), wasPrefix); drop && (n == "0" || n == "1") {
		return in.Value(), n != "0", u, true
	}
	_, _, tagged := hostport.ParseTag(l.Comment())
	return in.Value(), false, localnet.User{Tag: l.Comment()}, tagged
}

// links are those that are guarded, or used.
func (p prerouting) links() map[string]localnet.Link {
	out := map[string]localnet.Link{}
	for _, r := range p.guard {
		name, was, u, ok := r.link()
		if !ok {
			continue
		}
		l := out[name]
		if l.Was = l.Was || was; u.Tag != "" {
			l.Users = append(l.Users, u)
		}
		out[name] = l
	}
	return out
}

// broken says what is not as it must be.
func (p prerouting) broken() []string {
	var out []string
	have, said := p.links(), p.said()
	for i, w := range guardRules(have) {
		switch at := slices.Index(said, canonical(w)); {
		case at < 0:
			out = append(out, fmt.Sprintf("chain %s lacks the rule %q", ruleset.Guard, w))
		case i < len(have) && at >= len(have):
			out = append(out, fmt.Sprintf("chain %s has its rules in another order", ruleset.Guard))
		}
	}
	for _, j := range jumps() {
		switch at := slices.IndexFunc(p.head, says(j)); {
		case at < 0:
			out = append(out, "the jump from PREROUTING to "+ruleset.Guard+" is missing")
		case slices.ContainsFunc(p.head[:at], func(l line) bool { return l.Target != ruleset.Guard && ends(l.Target) }):
			out = append(out, "the jump from PREROUTING to "+ruleset.Guard+" stands behind a rule that ends the walk")
		}
	}
	return slices.Compact(out)
}

// says finds a rule by what it says.
func says(rule string) func(line) bool {
	want := canonical(rule)
	return func(l line) bool { return l.Canonical() == want }
}

func canonical(rule string) string { return iptsave.Rule{Text: rule}.Spec().Canonical() }

// said is what the rules of the guard's chain say.
func (p prerouting) said() []string {
	out := make([]string, len(p.guard))
	for i, l := range p.guard {
		out[i] = l.Canonical()
	}
	return out
}

// ends reports whether a verdict keeps packets from what comes behind.
func ends(target string) bool { return target == "ACCEPT" || target == "RETURN" }

// lacks are the users' rules that are missing. It is not ok if more than those must change.
func (p prerouting) lacks(want map[string]localnet.Link) (users []string, ok bool) {
	have, leads := p.links(), 0
	for _, l := range p.head {
		if l.Target == ruleset.Guard {
			leads++
		}
	}
	if !p.there || leads != len(jumps()) || len(p.broken()) > 0 {
		return nil, false
	}
	for name, l := range want {
		if h, guarded := have[name]; !guarded || h.Was != l.Was {
			return nil, false
		}
	}
	rules, said := guardRules(want), p.said()
	for _, r := range rules {
		if !slices.Contains(said, canonical(r)) {
			users = append(users, r)
		}
	}
	return users, len(p.guard)+len(users) == len(rules)
}

// script makes the chain what is wanted, "" if it is. Users are added, because whoever
// takes rules away waits until the kernel has let go of them: that is most of the time.
func (p prerouting) script(want map[string]localnet.Link) string {
	out := []string{"*mangle"}
	if users, ok := p.lacks(want); ok {
		if len(users) == 0 {
			return ""
		}
		for _, r := range users {
			out = append(out, "-A "+ruleset.Guard+" "+r)
		}
		return strings.Join(append(out, "COMMIT\n"), "\n")
	}
	for _, l := range p.head {
		if l.Target == ruleset.Guard {
			out = append(out, "-D PREROUTING "+l.Text())
		}
	}
	switch {
	case len(want) == 0 && !p.there:
		return ""
	case len(want) == 0:
		out = append(out, "-F "+ruleset.Guard, "-X "+ruleset.Guard)
	default:
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
	b, t := &nft.Batch{}, mangle()
	for name, l := range want {
		have, ok := p.links()[name]
		if more := func(u localnet.User) bool { return !slices.Contains(have.Users, u) }; !ok || slices.ContainsFunc(l.Users, more) {
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
		name, _, u, ok := r.link()
		l, keep := want[name]
		if ok && (!keep || u.Tag != "" && !slices.Contains(l.Users, u)) {
			b.DeleteRule(t, ruleset.Guard, r.handle)
		}
	}
	return b, nil
}
