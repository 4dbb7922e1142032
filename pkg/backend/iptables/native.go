// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"maps"
	"slices"

	"github.com/portguard/portguard/pkg/nft"
)

// A native is table nat of iptables-nft with rules in it that iptables cannot show:
// somebody used nft there. What is ours can be removed, through nf_tables, but nothing
// put there.
type native struct {
	rules map[string][]nft.Rule
	// err says what is wrong with the table.
	err error
}

// remove adds to a batch what empties the chains that are gone and removes what leads to
// them, and to cleanup what removes them.
func (n *native) remove(gone []string, t nft.Table, b, cleanup *nft.Batch) {
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
		cleanup.DeleteChain(t, chain)
	}
}
