// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"strings"

	"github.com/portguard/portguard/pkg/nft"
)

// describe names the expressions of a rule, for where no nft prints it: in brackets, as
// "nft --debug=netlink" does (src/expr of libnftnl).
func describe(r nft.Rule) string {
	var out []string
	for _, e := range r.Exprs {
		out = append(out, "[ "+strings.TrimSpace(e.Name+" "+operands(e))+" ]")
	}
	return strings.Join(out, " ")
}

// operands are those of the expressions by which one knows a rule.
func operands(e nft.Expr) string {
	num := func(typ uint16) uint32 {
		n, _ := e.Attrs.Num(typ)
		return n
	}
	switch e.Name {
	case "match", "target":
		return e.Attrs.Text(1)
	case "lookup":
		return "@" + e.Attrs.Text(1)
	case "cmp":
		data, _ := e.Attrs.Nested(3)
		return fmt.Sprintf("%s 0x%x", named(num(2), "eq", "neq", "lt", "lte", "gt", "gte"), nft.Value(data))
	case "payload":
		verb := "load"
		if _, writes := e.Attrs.Get(5); writes {
			verb = "write"
		}
		return fmt.Sprintf("%s %db @ %s header + %d", verb, num(4), named(num(2), "link", "network", "transport", "inner"), num(3))
	case "meta":
		return "load " + named(num(2), "len", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype",
			"skuid", "skgid", "nftrace", "rtclassid", "secmark", "nfproto", "l4proto")
	case "ct":
		return "load " + named(num(2), "state", "direction", "status", "mark")
	}
	return ""
}

// named is the name of a number, or the number.
func named(n uint32, names ...string) string {
	if int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprint(n)
}
