// SPDX-License-Identifier: Apache-2.0

package walk

import "github.com/portguard/portguard/pkg/iptsave"

type targetKind uint8

const (
	keepsOn targetKind = iota
	translates
	ends
	returns
	jumps
	mayDoAnything
)

// kind says what a rule's target does to the walk. The names are those of the
// xtables extensions in the kernel's net/netfilter and net/ipv4/netfilter.
func (w *Walker) kind(spec iptsave.Spec) targetKind {
	switch spec.Target {
	case "":
		// iptables-nft-save prints some native rules without what they do (a
		// verdict map). Its own rules without a target have a match.
		if _, comment := spec.Option("--comment"); w.nft && !comment {
			return mayDoAnything
		}
		return keepsOn
	case "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "SECMARK", "CONNSECMARK", "CLASSIFY",
		"TRACE", "SET", "TOS", "DSCP", "ECN", "TTL", "HL", "TCPMSS", "TCPOPTSTRIP", "CHECKSUM",
		"AUDIT", "IDLETIMER", "LED", "RATEEST", "TEE", "CT", "NOTRACK", "HMARK":
		return keepsOn
	case "DNAT", "REDIRECT", "NETMAP", "TPROXY":
		return translates
	case "ACCEPT", "DROP", "REJECT", "QUEUE", "NFQUEUE", "SNAT", "MASQUERADE":
		return ends
	case "RETURN":
		return returns
	}
	if w.skip != nil && w.skip(spec.Target) {
		return keepsOn
	}
	if w.table.Chain(spec.Target) != nil {
		return jumps
	}
	return mayDoAnything
}
