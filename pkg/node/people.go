// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"maps"
	"slices"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inspect"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/rules"
	"github.com/portguard/portguard/pkg/walk"
)

// Proxies says what kube-proxy and others have on the node.
func (n *Node) Proxies(on *host.Addressing) (p doctor.Proxies, err error) {
	r := n.rules(rules.Options{})
	p.IPVS = on.IPVS
	var hint []string
	if p.KubeProxy, hint, err = r.Proxies(); err != nil {
		return p, err
	}
	if len(hint) > 0 {
		p.Hint = hint[len(hint)-1]
	}
	for _, f := range n.Families() {
		for _, fl := range []string{rules.NFT, rules.Legacy} {
			there, err := r.Present(fl, f)
			if err != nil {
				return p, err
			}
			if there && !slices.Contains(p.Flavours, fl) {
				p.Flavours = append(p.Flavours, fl)
			}
			crio, err := hasCRIO(r, fl, f)
			if err != nil {
				return p, err
			}
			p.CRIO = p.CRIO || crio
		}
		names, err := r.NFT().Names(nft.Table{Family: f.NFProto(), Name: "kube-proxy"})
		if err != nil {
			return p, err
		}
		p.Native = p.Native || len(names) > 0
	}
	return p, nil
}

// Virtual are the links that carry nothing but addresses and are not known.
func (n *Node) Virtual(on *host.Addressing) (out []doctor.Virtual, err error) {
	singles, err := host.Virtual()
	for _, link := range slices.Sorted(maps.Keys(singles)) {
		if !slices.Contains(on.Infrastructure, link) {
			out = append(out, doctor.Virtual{Link: link, Singles: singles[link]})
		}
	}
	return out, err
}

// hasCRIO reports whether CRI-O maps hostPorts by itself.
func hasCRIO(r *rules.Reader, flavour string, f hostport.Family) (bool, error) {
	names, err := r.Chains(flavour, f, "nat")
	if err != nil {
		return false, err
	}
	for _, chain := range names {
		if !conflict.OfCRIO(chain) {
			continue
		}
		list, err := r.Rules(flavour, nft.Table{Family: f.NFProto(), Name: "nat"}, chain)
		if err != nil || len(list) > 0 {
			return len(list) > 0, err
		}
	}
	return false, nil
}

// Filters are the base chains that forwarded packets pass, for each family.
func (n *Node) Filters(*host.Addressing) ([]inspect.Filter, error) {
	holders, err := n.rules(rules.Options{}).Holders()
	if err != nil {
		return nil, err
	}
	var out []inspect.Filter
	for _, h := range holders {
		for _, c := range h.Forward {
			drops, err := h.Drops(c)
			if err != nil {
				return nil, err
			}
			for _, f := range hostport.Families() {
				if conflict.Carries(c.Table, f) {
					w := walk.New(h.Source, c.Table, f, walk.Options{Sets: host.Sets{}})
					out = append(out, inspect.Filter{Walker: w, Chain: c.Name, Drops: drops, Where: where(h.Holder, c.Table), Family: f})
				}
			}
		}
	}
	return out, nil
}

// where names a table as people do.
func where(holder string, t nft.Table) string {
	if holder == conflict.Legacy {
		return "iptables-legacy table " + t.Name
	}
	return fmt.Sprintf("nftables table %s", t)
}
