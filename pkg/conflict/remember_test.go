// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"slices"
	"testing"

	"github.com/portguard/portguard/pkg/nft"
)

// Clients that a rule notes in a set are in it for what asks before that rule, from their next
// packet or their next connection on.
func TestRemembered(t *testing.T) {
	also := slices.Concat[[]nft.Expr]
	saddr := []nft.Expr{ex("payload", 1, 8, 2, 1, 3, 12, 4, 4)}
	add := ex("dynset", 3, 0, 4, 8)
	add.Attrs = add.Attrs.With(1, []byte("grown\x00"))
	note, asked := also(dportIs(80), saddr, []nft.Expr{add}), also(saddr, []nft.Expr{lookup("grown", false)})
	drop := []nft.Expr{verdict(nft.Drop, "")}
	node := func(chains ...hookedAt) Snapshot {
		s := dropOwn(hooks(chains...))
		for _, rs := range s.Rulesets {
			if src, ok := rs.Source.(*table4); ok {
				src.sets = map[string][]nft.Element{"grown": {{Key: []byte{9, 9, 9, 9}}}}
			}
		}
		return s
	}
	filter := func(rules ...[]nft.Expr) hookedAt {
		return hookedAt{"f", "filter", nft.Prerouting, -150, rules}
	}
	nat := func(rules ...[]nft.Expr) hookedAt { return hookedAt{"n", "nat", nft.Prerouting, -100, rules} }
	any4 := attach(mapTo(v4, nodeIP))
	check(t, []findCase{
		{"the next connection is led away", any4, node(nat(also(asked, []nft.Expr{ex("redir")}), note)), "refuse 103", "redirect"},
		{"and the first one behind the rule", any4, node(filter(note), nat(also(asked, []nft.Expr{ex("redir")}))), "refuse 103", "redirect"},
		{"all packets but the first are dropped", any4, node(filter(also(asked, drop), note)), "refuse 105", "would not work"},
		{"all packets are dropped", any4, node(filter(note, also(asked, drop))), "refuse 105", "would not work"},
		{"connections may be dropped later", any4, node(filter(also(state(8), dportIs(80), asked, drop), note)), "warn 105", "for everybody"},
		{"nobody asks", any4, node(filter(note)), "", ""},
		{"others are noted", any4, node(filter(also(dportIs(81), note), also(asked, drop))), "", ""},
	})
}
