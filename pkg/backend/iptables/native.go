// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// A native is table nat of iptables-nft with rules in it that iptables cannot show:
// somebody used nft there. What is ours can be told and removed, but nothing put there.
type native struct {
	family hostport.Family
	chains []string
	rules  map[string][]nft.Rule
	// err is why iptables cannot show the table.
	err error
	// gone are attachments to remove; refused is set if one is to be put here.
	gone    []hostport.Key
	refused bool
}

func newNative(f hostport.Family, chains []string, rules map[string][]nft.Rule, err error) *native {
	return &native{family: f, chains: chains, rules: rules, err: err}
}

// claims are the mappings of attachments that stay.
func (n *native) claims() []hostport.Claim {
	var out []hostport.Claim
	for _, chain := range slices.Sorted(maps.Keys(n.rules)) {
		key, ok := ruleset.Mapped(chain)
		if !ok || slices.Contains(n.gone, key) {
			continue
		}
		for _, r := range n.rules[chain] {
			s, _ := xt.Spec(r, n.family)
			if m, to, ok := s.Mapping(n.family); ok {
				c := hostport.Claim{Key: key, Mapping: m, Target: to, Packets: -1}
				c.Owner, _ = hostport.ParseComment(s.Comment())
				out = append(out, c)
			}
		}
	}
	return out
}

func (n *native) with(a hostport.Attachment, instead []hostport.Key) *native {
	w := n.without(instead)
	w.refused = n.refused || len(a.Of(n.family)) > 0
	return w
}

func (n *native) without(keys []hostport.Key) *native {
	w := *n
	w.gone = slices.Concat(n.gone, keys)
	return &w
}

func (n *native) recover(key hostport.Key) (a hostport.Attachment, ok bool) {
	for _, c := range n.claims() {
		if c.Key == key {
			ok = true
			a.Owner, a.Mappings = c.Owner, append(a.Mappings, c.Mapping)
			a.Pods = []netip.Prefix{netip.PrefixFrom(c.Target.Addr(), c.Target.Addr().BitLen())}
		}
	}
	return a, ok
}

// remove adds to a batch what removes those that are gone, with what nobody shares then.
func (n *native) remove(b *nft.Batch) error {
	if n.refused {
		return n.err
	}
	gone := ruleset.Gone(n.chains, n.targets(), n.gone)
	if len(gone) == 0 {
		return nil
	}
	t := nft.Table{Family: n.family.NFProto(), Name: "nat"}
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
	return nil
}

// targets are the chains that each chain leads to.
func (n *native) targets() map[string][]string {
	out := map[string][]string{}
	for chain, rules := range n.rules {
		for _, r := range rules {
			out[chain] = append(out[chain], r.Target())
		}
	}
	return out
}
