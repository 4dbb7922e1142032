// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"slices"
	"strings"
)

// ifaces is a set of interface names: those that only matches ("" for all) and
// none of except does. Patterns end in "+" for any rest, as iptables writes them.
type ifaces struct {
	only   string
	except []string
	// links, if not nil, are all that there are.
	links []Link
}

func nameMatches(pattern, name string) bool {
	if prefix, wild := strings.CutSuffix(pattern, "+"); wild {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// all reports whether every name is in the set.
func (f ifaces) all() bool { return f.only == "" && len(f.except) == 0 }

// has reports whether a name is in the set.
func (f ifaces) has(name string) bool {
	matches := func(pattern string) bool { return nameMatches(pattern, name) }
	return (f.only == "" || matches(f.only)) && !slices.ContainsFunc(f.except, matches)
}

// with restricts the set to names that match pattern, or do not. It reports
// whether any name is left.
func (f ifaces) with(pattern string, not bool) (ifaces, bool) {
	if not {
		f.except = append(slices.Clone(f.except), pattern)
	} else {
		switch {
		case f.only == "" || nameMatches(f.only, pattern):
			f.only = pattern
		case !nameMatches(pattern, f.only):
			return f, false
		}
	}
	if f.links != nil {
		return f, slices.ContainsFunc(f.links, func(l Link) bool { return f.has(l.Name) })
	}
	// Some name is left unless an exception covers all that only allows. A
	// pattern matches another as if that were a name: "eth+" covers "eth1+".
	covers := func(x string) bool { return x == "+" || f.only != "" && nameMatches(x, f.only) }
	return f, !slices.ContainsFunc(f.except, covers)
}
