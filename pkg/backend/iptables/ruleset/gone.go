// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"maps"
	"slices"

	"github.com/portguard/portguard/pkg/nft"
)

// Gone returns the chains that go with attachments, of the chains there are with their
// rules.
func Gone(chains map[string][]nft.Rule, keys []string) []string {
	var out []string
	for _, c := range slices.Sorted(maps.Keys(chains)) {
		if k := keyOf(c); k != "" && slices.Contains(keys, k) {
			out = append(out, c)
		}
	}
	for _, c := range []string{hostports, masq} {
		rules, there := chains[c]
		used := slices.ContainsFunc(rules, func(r nft.Rule) bool { return keyOf(r.Target()) != "" && !slices.Contains(out, r.Target()) })
		if there && !used && len(keys) > 0 {
			out = append(out, c)
		}
	}
	return out
}
