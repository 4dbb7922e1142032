// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Diff returns what iptables-restore --noflush must read to get from have to
// want, "" if they are the same. Each table is one commit.
func Diff(have, want *Layout) string {
	var b strings.Builder
	for _, name := range tableNames() {
		lines := diffTable(have.tables[name], want.tables[name], want)
		if len(lines) == 0 {
			continue
		}
		fmt.Fprintf(&b, "*%s\n%s\nCOMMIT\n", name, strings.Join(lines, "\n"))
	}
	return b.String()
}

// diffTable orders its lines so that nothing refers to a chain that is not
// there: declare, delete, append, drop. A declaration empties a chain.
func diffTable(have, want *table, l *Layout) []string {
	var declare, del, add, drop []string
	for _, name := range want.sortedChains() {
		old, there := have.chains[name]
		there = there || have.unread[name]
		rules := want.chains[name]
		gone, fresh, ok := edit(old, rules)
		whole := keyOf(name) != "" && len(gone)+len(fresh) > 0 || !have.unread[name] && slices.ContainsFunc(gone, l.conditional)
		if there && ok && !whole {
			del = appendRules(del, "-D "+name, gone)
			add = appendRules(add, "-A "+name, fresh)
			continue
		}
		declare = append(declare, ":"+name+" - [0:0]")
		add = appendRules(add, "-A "+name, rules)
	}
	for _, name := range have.sortedChains() {
		if _, keep := want.chains[name]; !keep {
			drop = append(drop, "-F "+name, "-X "+name)
		}
	}
	// Jumps of chains that go away must be gone before "-X".
	sort.SliceStable(drop, func(i, j int) bool { return drop[i][:2] < drop[j][:2] })
	for _, name := range baseNames(have, want) {
		js, ws := have.jumps[name], want.jumps[name]
		if slices.Equal(js, ws) {
			continue
		}
		gone, fresh := editJumps(js, ws)
		for _, j := range gone {
			del = append(del, "-D "+name+" "+j.text)
		}
		for _, j := range fresh {
			add = append(add, insert(name, j, l))
		}
	}
	return slices.Concat(declare, del, add, drop)
}

// editJumps returns what to delete and what to insert. On the way back to what was
// before that is all: places count from a chain without any of ours.
func editJumps(have, want []jump) (gone, fresh []jump) {
	in := func(js []jump) func(jump) bool { return func(j jump) bool { return slices.Contains(js, j) } }
	fresh = slices.DeleteFunc(slices.Clone(want), in(have))
	if slices.ContainsFunc(fresh, func(j jump) bool { return j.index >= 0 }) {
		return have, want
	}
	return slices.DeleteFunc(slices.Clone(have), in(want)), fresh
}

// insert writes a jump at its index, or where its base wants it.
func insert(name string, j jump, l *Layout) string {
	if j.index >= 0 {
		return fmt.Sprintf("-I %s %d %s", name, j.index+1, j.text)
	}
	for _, b := range bases(l.Family, nil, nil) {
		if b.first && b.name == name && b.chain == l.targetOf(j.text) {
			return fmt.Sprintf("-I %s 1 %s", name, j.text)
		}
	}
	return "-A " + name + " " + j.text
}

func baseNames(a, b *table) []string {
	var out []string
	for _, m := range []map[string][]jump{a.jumps, b.jumps} {
		for n := range m {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return out
}

// edit returns what to delete from have and to append to it to get want. It
// fails if appending is not enough.
func edit(have, want []string) (gone, fresh []string, ok bool) {
	var kept []string
	left := slices.Clone(want)
	for _, r := range have {
		if i := slices.Index(left, r); i >= 0 {
			kept = append(kept, r)
			left = slices.Delete(left, i, i+1)
			continue
		}
		gone = append(gone, r)
	}
	if len(kept) > len(want) || !slices.Equal(kept, want[:len(kept)]) {
		return nil, nil, false
	}
	return gone, want[len(kept):], true
}

func appendRules(lines []string, verb string, rules []string) []string {
	for _, r := range rules {
		lines = append(lines, verb+" "+r)
	}
	return lines
}

// conditional reports whether a rule holds a user's conditions: iptables does not find
// some of them again by their text (recent, connlimit), so they cannot be deleted by it.
func (l *Layout) conditional(rule string) bool {
	s := l.spec(rule)
	ports := l.ports(rule)
	return keyOf(s.Target) != "" && len(ports) > 0 && l.canonical(entryRule(l.protoOf(rule), ports, s.Comment(), nil, keyOf(s.Target))) != l.canonical(rule)
}
