// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
)

// OfIptables reports whether a table has a name that iptables gives: in nf_tables it is
// iptables-nft's, or nobody can tell the difference.
func OfIptables(t nft.Table) bool {
	return t.Family != nft.Inet && slices.Contains([]string{"nat", "mangle", "raw", "filter", "security"}, t.Name)
}

// flavour is that of the iptables whose table it is, "" if it is none's.
func (rs *ruleset) flavour(t nft.Table) string {
	switch {
	case rs.Holder == Legacy:
		return "legacy"
	case OfIptables(t):
		return "nft"
	}
	return ""
}

// baseOf names whose a base chain is: a flavour of iptables, or a table of its own.
func (q query) baseOf(c nft.Chain) string {
	if fl := q.flavour(c.Table); fl != "" && c.Table.Name == "nat" {
		return "iptables-" + fl
	}
	return "nftables " + c.Table.String()
}

// what names a base chain of nat, and the table alone of others.
func (q query) what(t nft.Table, chain string) string {
	switch fl := q.flavour(t); {
	case fl == "":
		return "nftables " + t.String()
	case t.Name != "nat":
		return fmt.Sprintf("iptables-%s %s %s", fl, q.m.Family, t.Name)
	default:
		return fmt.Sprintf("iptables-%s %s %s %s", fl, q.m.Family, t.Name, chain)
	}
}

// where says where to find a rule: the way to it, and the rule itself as its tool prints
// it, or else by its number and its expressions.
func (q query) where(path walk.Path) string {
	h := path.Last()
	fl, text := q.flavour(h.Table), q.printed(h)
	switch {
	case text != "" && fl == "":
		return fmt.Sprintf("nftables %s %s: %q", h.Table, chains(path), text)
	case text != "":
		return fmt.Sprintf("iptables-%s %s %s %s: %q", fl, q.m.Family, h.Table.Name, chains(path), text)
	case fl == "legacy":
		return fmt.Sprintf("iptables-legacy %s %s %s: rule %d: %s", q.m.Family, h.Table.Name, chains(path), h.Index+1, h.Text())
	}
	return fmt.Sprintf("nftables %s %s: handle %d: %s", h.Table, chains(path), h.Handle, h.Text())
}

// chains are those of a path, in order.
func chains(path walk.Path) string {
	names := make([]string, 0, len(path.Hops))
	for _, h := range path.Hops {
		names = append(names, h.Chain)
	}
	return strings.Join(names, " > ")
}
