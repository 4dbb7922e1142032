// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
	"github.com/portguard/portguard/pkg/walk"
)

// A filter is one base chain at FORWARD, with what its end means.
type filter struct {
	walker *walk.Walker
	chain  string
	drops  bool
	where  string
	family func(hostport.Family) bool
}

// filters are all of them: those of iptables-legacy and those that nf_tables has,
// which are iptables-nft's too.
func (i *inspection) filters() ([]filter, error) {
	var out []filter
	for _, at := range i.view.places {
		c := i.view.dumps[at].Table("filter").Chain("FORWARD")
		if at.flavour != iptables.Legacy || c == nil {
			continue
		}
		w := walk.New(i.view.dumps[at].Table("filter"), walk.Options{Family: at.family, Sets: host.Sets{}, Forward: true})
		out = append(out, filter{w, "FORWARD", c.Policy == "DROP", "iptables-legacy table filter", func(f hostport.Family) bool { return f == at.family }})
	}
	r := nftconn.NewReader() // of its own: who asks for hostPorts is not told of pods' addresses and ports
	chains, err := r.ForwardChains()
	for _, c := range chains {
		for _, f := range hostport.Families() {
			if conflict.Carries(c.Table, f) {
				out = append(out, filter{walk.NewNFT(r, c.Table, f, nil), c.Name, r.Drops(c),
					"nftables table " + c.Table.String(), func(o hostport.Family) bool { return o == f }})
			}
		}
	}
	return out, err
}

// dropped lists the mappings of live pods whose packets a filter certainly drops.
func (i *inspection) dropped() ([]doctor.Dropped, error) {
	filters, err := i.filters()
	if err != nil || len(filters) == 0 {
		return nil, err
	}
	var out []doctor.Dropped
	for _, c := range i.claims {
		pod := c.Target
		if !pod.IsValid() || i.gone(c.Key) {
			continue
		}
		link, _ := host.LinkTo(pod.Addr())
		p := walk.Packet{Hook: walk.Forward, Proto: c.Mapping.Proto, Port: pod.Port(), Dst: addrset.Between(pod.Addr(), pod.Addr()), Out: link}
		for _, f := range filters {
			if !f.family(c.Mapping.Family) {
				continue
			}
			where, err := f.blocks(p)
			if err != nil {
				return nil, err
			}
			if where != "" {
				out = append(out, doctor.Dropped{Mapping: c.Mapping, Owner: i.attachments[c.Key].Owner, Where: where})
				break
			}
		}
	}
	return out, nil
}

// blocks says what keeps packets from the pod, "" if anything may let them through.
func (f filter) blocks(p walk.Packet) (string, error) {
	r, err := f.walker.Walk(f.chain, p)
	if err != nil {
		return "", err
	}
	accepts := func(path walk.Path) bool { return strings.EqualFold(path.Last().Target, "accept") }
	if slices.ContainsFunc(r.End, accepts) {
		return "", nil
	}
	for _, path := range r.End {
		if path.Match == walk.Yes {
			return fmt.Sprintf("%s, chain %s: %s", f.where, path.Last().Chain, path.Last().Text), nil
		}
	}
	if f.drops && len(r.Reached) > 0 {
		return fmt.Sprintf("%s, policy of chain %s", f.where, f.chain), nil
	}
	return "", nil
}

// proxies says what kube-proxy has on the node, and in which flavours rules are.
func (i *inspection) proxies() (f doctor.Proxies, err error) {
	f.IPVS = i.on.IPVS
	for _, at := range i.view.places {
		d := i.view.dumps[at]
		name := string(at.flavour)
		if there, err := i.tools.Present(at.flavour, at.family); err == nil && there && !slices.Contains(f.Flavours, name) {
			f.Flavours = append(f.Flavours, name)
		}
		if jumpsTo(d.Table("nat"), "KUBE-SERVICES") && !slices.Contains(f.KubeProxy, name) {
			f.KubeProxy = append(f.KubeProxy, name)
		}
		if d.Table("mangle").Chain("KUBE-IPTABLES-HINT") != nil {
			f.Hint = name
		}
		for _, chain := range d.Table("nat").Chains() {
			f.CRIO = f.CRIO || conflict.OfCRIO(chain.Name) && len(chain.Rules) > 0
		}
	}
	for _, fam := range hostport.Families() {
		names, err := i.view.scout.reader.Names(nft.Table{Family: fam.NFProto(), Name: "kube-proxy"})
		if err != nil {
			return f, err
		}
		f.Native = f.Native || len(names) > 0
	}
	return f, nil
}

// misplaced lists what is wrong with the shared parts of portguard's rules.
func (i *inspection) misplaced() []string {
	if i.view.table.Foreign() {
		return nil // Facts.Stranger says it
	}
	out := slices.Clone(i.view.table.Broken)
	for n := range out {
		out[n] = "table " + nfttable.Name().String() + ": " + out[n] + " is not as installed"
	}
	for _, at := range i.view.places {
		for _, what := range i.view.layouts[at].Misplaced() {
			out = append(out, fmt.Sprintf("iptables-%s (%s): %s", at.flavour, at.family, what))
		}
	}
	return out
}
