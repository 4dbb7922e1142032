// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"strings"
)

// Chains of portguard. Changing a name orphans the rules of running pods.
const (
	hostports = "PORTGUARD-HOSTPORTS" // nat: jumps for attachments and protocols
	incoming  = "PORTGUARD-INCOMING"  // nat: from PREROUTING to HOSTPORTS
	masq      = "PORTGUARD-MASQ"      // nat: one jump for each attachment

	// The rest of the name is Owner.Key; 28 characters are the most that
	// xtables allows (XT_EXTENSION_MAXNAMELEN is 29 with the NUL).
	condPrefix = "PGC-" // the user's conditions, if there are any
	dnatPrefix = "PGD-"
	masqPrefix = "PGM-"
	keyLen     = 24
)

// Guard is the chain of table mangle with one rule for each link with route_localnet.
const Guard = "PORTGUARD-GUARD"

// sharedComment marks the rules that belong to no single attachment.
const sharedComment = "portguard"

// IsOurs reports whether a chain of a table is portguard's.
func IsOurs(table, chain string) bool {
	switch table {
	case "nat":
		return chain == hostports || chain == incoming || chain == masq || keyOf(chain) != ""
	case "mangle":
		return chain == Guard
	}
	return false
}

// keyOf returns the owner's key in the name of an attachment's chain.
func keyOf(chain string) string {
	if len(chain) != len(dnatPrefix)+keyLen {
		return ""
	}
	switch chain[:len(dnatPrefix)] {
	case condPrefix, dnatPrefix, masqPrefix:
		return chain[len(dnatPrefix):]
	}
	return ""
}

// isDNAT reports whether a chain translates for an attachment.
func isDNAT(chain string) bool { return strings.HasPrefix(chain, dnatPrefix) && keyOf(chain) != "" }
