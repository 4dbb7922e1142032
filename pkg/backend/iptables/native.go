// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"maps"
	"slices"

	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// A native is table nat of iptables-nft with rules in it that iptables cannot show:
// somebody used nft there. What is ours can be removed, through nf_tables, but nothing
// put there.
type native struct {
	rules map[string][]nft.Rule
	// err says what is wrong with the table.
	err error
	// gone are attachments to remove; refused is set if one is to be put here.
	gone    []hostport.Key
	refused bool
}

func (n *native) with(refused bool, instead []hostport.Key) *native {
	w := *n
	w.gone, w.refused = slices.Concat(n.gone, instead), n.refused || refused
	return &w
}

// remove adds to a batch what removes those that are gone, with what nobody shares then.
func (n *native) remove(t nft.Table, b *nft.Batch) {
	gone := ruleset.Gone(n.rules, n.gone)
	for _, chain := range slices.Sorted(maps.Keys(n.rules)) {
		for _, r := range n.rules[chain] {
			if slices.Contains(gone, r.Target()) && !slices.Contains(gone, chain) {
				b.DeleteRule(t, chain, r.Handle)
			}
		}
	}
	for _, chain := range gone { // they may lead to each other
		b.FlushChain(t, chain)
	}
	for _, chain := range gone {
		b.DeleteChain(t, chain)
	}
}
