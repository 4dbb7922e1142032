// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
)

// noEndpointPorts is the chain in which kube-proxy's nftables mode rejects what
// goes to NodePorts without endpoints (pkg/proxy/nftables/proxier.go).
const noEndpointPorts = "nodeport-endpoints-check"

// findNative walks the base chains of native nftables for the addresses m covers.
func (w *ruleWalk) findNative(r *Report, a hostport.Attachment, m hostport.Mapping) error {
	if w.s.NFT == nil {
		return nil
	}
	kubeProxy := false
	for _, c := range w.s.Native {
		if !carries(c.Table, m.Family) || w.shownByIptables(c.Table) {
			continue
		}
		kubeProxy = kubeProxy || c.Table.Name == "kube-proxy"
		h := walk.Prerouting
		if c.Hook == nft.Output {
			h = walk.Output
		}
		p, ok := w.packets(r, a, m, h)
		if !ok {
			continue
		}
		res, err := w.walker(c.Table, m.Family).Walk(c.Name, p)
		if err != nil {
			return err
		}
		if c.Type != "nat" {
			res.NAT = onlyTproxy(res.NAT)
		}
		for _, path := range res.NAT {
			judge(r, m, path, whereNative(path), c.Table.Name == "kube-proxy")
		}
	}
	if kubeProxy {
		return w.nativeWithoutEndpoints(r, a, m)
	}
	return nil
}

// carries reports whether packets of family f pass tables of t's family.
func carries(t nft.Table, f hostport.Family) bool {
	return t.Family == nft.Inet || t.Family == tableFamily(f)
}

func tableFamily(f hostport.Family) uint8 {
	if f == hostport.IPv4 {
		return nft.IPv4
	}
	return nft.IPv6
}

// shownByIptables reports whether t is a table of iptables-nft whose rules were
// read as text.
func (w *ruleWalk) shownByIptables(t nft.Table) bool {
	if t.Family == nft.Inet || !slices.Contains([]string{"nat", "mangle", "raw", "filter", "security"}, t.Name) {
		return false
	}
	for _, rs := range w.s.Rules {
		if rs.Flavour == "nft" && tableFamily(rs.Family) == t.Family {
			return rs.Dump.Table(t.Name) != nil
		}
	}
	return false
}

func (w *ruleWalk) walker(t nft.Table, f hostport.Family) *walk.Walker {
	key := fmt.Sprint(t, f)
	if w.native[key] == nil {
		w.native[key] = walk.NewNFT(w.s.NFT, t, f)
	}
	return w.native[key]
}

// whereNative says where to find a rule.
func whereNative(path walk.Path) string {
	var chains []string
	for _, h := range path.Hops {
		chains = append(chains, h.Chain)
	}
	return fmt.Sprintf("nftables %s %s: %s", path.Last().Table, strings.Join(chains, " > "), path.Last().Text)
}

// nativeWithoutEndpoints looks for NodePorts that kube-proxy only rejects so far.
func (w *ruleWalk) nativeWithoutEndpoints(r *Report, a hostport.Attachment, m hostport.Mapping) error {
	p, ok := w.packets(r, a, m, walk.Prerouting)
	if !ok {
		return nil
	}
	res, err := w.walker(nft.Table{Family: tableFamily(m.Family), Name: "kube-proxy"}, m.Family).Walk(noEndpointPorts, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another version of kube-proxy
	}
	if err != nil {
		return err
	}
	for _, path := range res.End {
		r.refuseOf(NodePort, m, path.Dst, fmt.Sprintf("hostPort %s is taken: it is a NodePort of Service %s (without endpoints now); change the Service's nodePort or choose another hostPort",
			m, serviceName(path.Hops[0].Comment)))
	}
	return nil
}
