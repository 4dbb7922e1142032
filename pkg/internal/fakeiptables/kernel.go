// SPDX-License-Identifier: Apache-2.0

// Package fakeiptables is a kernel for tests, which has rules of iptables in memory.
package fakeiptables

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Kernel has rules by table and chain. It knows as much of iptables-restore --noflush
// as portguard needs, and has as little forgiveness as the real one.
type Kernel map[string]map[string][]string

// New returns a Kernel without rules.
func New() Kernel {
	return Kernel{
		"mangle": {"PREROUTING": nil, "INPUT": nil},
		"nat":    {"PREROUTING": nil, "OUTPUT": nil, "POSTROUTING": nil},
	}
}

// IsBase reports whether a chain cannot be deleted.
func IsBase(chain string) bool {
	return slices.Contains([]string{"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}, chain)
}

// TargetOf is quick, for rules without a comment that looks like a jump.
func TargetOf(rule string) string {
	i := strings.LastIndex(" "+rule, " -j ")
	if i < 0 {
		return ""
	}
	to, _, _ := strings.Cut(rule[i+3:], " ")
	return to
}

// Save prints as iptables-save does.
func (k Kernel) Save() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(k)) {
		b.WriteString("*" + name + "\n")
		chains := slices.Sorted(maps.Keys(k[name]))
		for _, c := range chains {
			policy := "-"
			if IsBase(c) {
				policy = "ACCEPT"
			}
			fmt.Fprintf(&b, ":%s %s [0:0]\n", c, policy)
		}
		for _, c := range chains {
			for _, r := range k[name][c] {
				fmt.Fprintf(&b, "-A %s %s\n", c, r)
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// Restore runs a script: each table at once, or not at all.
func (k Kernel) Restore(script string) error {
	var table string
	var chains map[string][]string
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table, chains = name, maps.Clone(k[name])
			continue
		}
		if line == "COMMIT" {
			if err := whole(chains); err != nil {
				return err
			}
			k[table] = chains
			continue
		}
		if err := run(chains, line); err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
	}
	return nil
}

// whole fails if a rule leads to a chain of ours that is not there.
func whole(chains map[string][]string) error {
	for c, rules := range chains {
		for _, r := range rules {
			to := TargetOf(r)
			if _, ok := chains[to]; !ok && strings.HasPrefix(to, "P") {
				return fmt.Errorf("rule %q of %s leads to no chain", r, c)
			}
		}
	}
	return nil
}

func run(chains map[string][]string, line string) error {
	if name, ok := strings.CutPrefix(line, ":"); ok {
		name, _, _ = strings.Cut(name, " ")
		chains[name] = nil
		return nil
	}
	verb, rest, _ := strings.Cut(line, " ")
	name, rule, _ := strings.Cut(rest, " ")
	rules, ok := chains[name]
	if !ok {
		return fmt.Errorf("no chain %s", name)
	}
	if to := TargetOf(rule); verb != "-D" && strings.HasPrefix(to, "P") {
		if _, ok := chains[to]; !ok {
			return fmt.Errorf("no target %s", to)
		}
	}
	switch verb {
	case "-A":
		chains[name] = append(slices.Clip(rules), rule)
	case "-I":
		at, rule, _ := strings.Cut(rule, " ")
		n, err := strconv.Atoi(at)
		if err != nil || n < 1 || n > len(rules)+1 {
			return fmt.Errorf("no place %q in %d rules", at, len(rules))
		}
		chains[name] = slices.Insert(slices.Clone(rules), n-1, rule)
	case "-D":
		i := slices.Index(rules, rule)
		if i < 0 || strings.Contains(rule, "-m recent") { // of which the kernel has more than the text
			return fmt.Errorf("no such rule")
		}
		chains[name] = slices.Delete(slices.Clone(rules), i, i+1)
	case "-F":
		chains[name] = nil
	case "-X":
		return remove(chains, name)
	default:
		return fmt.Errorf("unknown command")
	}
	return nil
}

// remove deletes a chain that nothing leads to.
func remove(chains map[string][]string, name string) error {
	for c, rs := range chains {
		if slices.ContainsFunc(rs, func(r string) bool { return TargetOf(r) == name }) {
			return fmt.Errorf("%s is in use by %s", name, c)
		}
	}
	if len(chains[name]) > 0 || IsBase(name) {
		return fmt.Errorf("%s cannot be deleted", name)
	}
	delete(chains, name)
	return nil
}
