// SPDX-License-Identifier: Apache-2.0

package ruleset

import "slices"

// Mapped returns the key of the attachment whose mappings stand in a chain.
func Mapped(chain string) (key string, ok bool) { return keyOf(chain), isDNAT(chain) }

// Gone returns the chains that go with attachments, where only names are known: of the
// chains there are, and of those that each leads to.
func Gone(chains []string, targets map[string][]string, keys []string) []string {
	var out []string
	for _, c := range chains {
		if k := keyOf(c); k != "" && slices.Contains(keys, k) {
			out = append(out, c)
		}
	}
	for _, c := range []string{hostports, masq} {
		used := slices.ContainsFunc(targets[c], func(to string) bool { return keyOf(to) != "" && !slices.Contains(out, to) })
		if slices.Contains(chains, c) && !used {
			out = append(out, c)
		}
	}
	return out
}
