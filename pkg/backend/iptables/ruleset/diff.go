// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// Diff returns what iptables-restore --noflush must read to get from have to
// want, "" if they are the same. It is one commit. Nothing in it refers to a chain that
// is not there: it declares chains, deletes rules, appends rules, drops chains.
func Diff(have, want *Layout) string {
	var declare, del, add []string
	for _, name := range want.changed(have) {
		old, there := have.chains[name]
		rules := want.chains[name]
		gone, fresh, ok := edit(old, rules)
		if there && ok && keyOf(name) == "" {
			del, add = appendRules(del, "-D "+name, gone), appendRules(add, "-A "+name, fresh)
			continue
		}
		// A declaration empties a chain. Those of an attachment are always written as a
		// whole: iptables does not find some of a user's conditions again by their text
		// (recent, connlimit), so rules with them cannot be deleted.
		declare = append(declare, ":"+name+" - [0:0]")
		add = appendRules(add, "-A "+name, rules)
	}
	jumpsOut, jumpsIn := diffJumps(have, want)
	lines := slices.Concat(declare, del, jumpsOut, add, jumpsIn, drop(have, want))
	if len(lines) == 0 {
		return ""
	}
	return "*nat\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
}

// changed are the chains of l that have not the same rules in another Layout.
func (l *Layout) changed(have *Layout) []string {
	return l.named(func(name string) bool {
		old, there := have.chains[name]
		return !there || !slices.EqualFunc(old, l.chains[name], func(a, b *rule) bool { return a == b || a.String() == b.String() })
	})
}

// Gone are our chains that are not wanted.
func (l *Layout) Gone(want *Layout) []string {
	return l.named(func(name string) bool { _, keep := want.chains[name]; return !keep })
}

// drop removes chains that are not wanted. Their jumps to each other must be gone before.
func drop(have, want *Layout) (lines []string) {
	gone := have.Gone(want)
	for _, verb := range []string{"-F ", "-X "} {
		for _, name := range gone {
			lines = append(lines, verb+name)
		}
	}
	return lines
}

// KeepChains is a script that empties chains instead of removing them.
func KeepChains(script string) string {
	lines := slices.DeleteFunc(strings.SplitAfter(script, "\n"), func(l string) bool { return strings.HasPrefix(l, "-X ") })
	return strings.Join(lines, "")
}

// diffJumps deletes and inserts jumps in base chains.
func diffJumps(have, want *Layout) (del, add []string) {
	names := maps.Clone(have.jumps)
	maps.Copy(names, want.jumps)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		gone, fresh := editJumps(have.jumps[name], want.jumps[name])
		for _, j := range gone {
			del = append(del, "-D "+name+" "+j.text)
		}
		for _, j := range fresh {
			add = append(add, insert(name, j))
		}
	}
	return del, add
}

// editJumps returns what to delete and what to insert. When undoing, all jumps are
// written anew in their order, because indices count from a chain with none of ours.
func editJumps(have, want []jump) (gone, fresh []jump) {
	in := func(js []jump) func(jump) bool { return func(j jump) bool { return slices.Contains(js, j) } }
	fresh = slices.DeleteFunc(slices.Clone(want), in(have))
	if slices.ContainsFunc(fresh, func(j jump) bool { return j.index >= 0 }) {
		all := slices.Clone(want)
		sort.Slice(all, func(i, j int) bool { return all[i].index < all[j].index })
		return have, all
	}
	return slices.DeleteFunc(slices.Clone(have), in(want)), fresh
}

// insert writes a jump at its index, or where its base wants it: those to the
// masquerading first, those to the mappings last, behind KUBE-SERVICES.
func insert(name string, j jump) string {
	switch {
	case j.index >= 0:
		return fmt.Sprintf("-I %s %d %s", name, j.index+1, j.text)
	case strings.HasSuffix(j.text, " "+masq):
		return fmt.Sprintf("-I %s 1 %s", name, j.text)
	}
	return "-A " + name + " " + j.text
}

// edit returns what to delete from have and to append to it to get want. It
// fails if that is not enough.
func edit(have, want []*rule) (gone, fresh []*rule, ok bool) {
	kept := 0
	for _, r := range have {
		if kept < len(want) && (r == want[kept] || r.String() == want[kept].String()) {
			kept++
		} else {
			gone = append(gone, r)
		}
	}
	// -D removes the first rule with that text, so no kept rule may have it.
	byText := !slices.ContainsFunc(gone, func(g *rule) bool {
		return !g.exact() || slices.ContainsFunc(want[:kept], func(w *rule) bool { return w.String() == g.String() })
	})
	return gone, want[kept:], byText
}

func appendRules(lines []string, verb string, rules []*rule) []string {
	for _, r := range rules {
		if r.exact() { // else a stranger has put it there
			lines = append(lines, verb+" "+r.String())
		}
	}
	return lines
}
