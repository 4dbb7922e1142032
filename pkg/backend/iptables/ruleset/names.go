// SPDX-License-Identifier: Apache-2.0

package ruleset

import "strings"

// Chains of portguard. Changing a name orphans the rules of running pods.
const (
	hostports = "PORTGUARD-HOSTPORTS" // nat: jumps for attachments and protocols, or for ranges of ports
	masq      = "PORTGUARD-MASQ"      // nat: one jump for each attachment
	guard     = "PORTGUARD-GUARD"     // mangle: one rule for each link with route_localnet

	// The rest of the name is Owner.Key; 28 characters are the most that
	// xtables allows (XT_EXTENSION_MAXNAMELEN is 29 with the NUL).
	dnatPrefix = "PGD-"
	masqPrefix = "PGM-"
	keyLen     = 24
)

// sharedComment marks the rules that belong to no single attachment.
const sharedComment = "portguard"

// IsOurs reports whether a chain is portguard's.
func IsOurs(chain string) bool {
	return strings.HasPrefix(chain, "PORTGUARD-") || keyOf(chain) != ""
}

// keyOf returns the owner's key in the name of an attachment's chain.
func keyOf(chain string) string {
	for _, p := range []string{dnatPrefix, masqPrefix} {
		if k, ok := strings.CutPrefix(chain, p); ok && len(k) == keyLen {
			return k
		}
	}
	return ""
}
