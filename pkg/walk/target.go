// SPDX-License-Identifier: Apache-2.0

package walk

type targetKind uint8

const (
	keepsOn targetKind = iota
	translates
	ends
	returns
	jumps
	mayDoAnything
)

// kind says what a target does to the walk. The names are those of the xtables
// extensions in the kernel's net/netfilter and net/ipv4/netfilter.
func (w *Walker) kind(target string) targetKind {
	switch target {
	case "", "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "SECMARK", "CONNSECMARK", "CLASSIFY",
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
	if w.skip != nil && w.skip(target) {
		return keepsOn
	}
	if w.table.Chain(target) != nil {
		return jumps
	}
	return mayDoAnything
}
