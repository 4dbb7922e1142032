// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
)

// noEndpointPorts is the chain in which kube-proxy's nftables mode rejects what
// goes to NodePorts without endpoints (pkg/proxy/nftables/proxier.go).
const noEndpointPorts = "nodeport-endpoints-check"

// kubeProxyTable is that of kube-proxy's nftables mode.
const kubeProxyTable = "kube-proxy"

// findNative walks the base chains of native nftables for the addresses m covers.
func (w *ruleWalk) findNative(r *Report, a hostport.Attachment, m hostport.Mapping) error {
	if w.s.NFT == nil {
		return nil
	}
	kubeProxy := false
	for _, c := range w.s.Native {
		rs := w.rulesOf(c.Table)
		if !Carries(c.Table, m.Family) || rs != nil && !rs.Part && rs.Dump.Table(c.Table.Name) != nil {
			continue
		}
		kubeProxy = kubeProxy || c.Table.Name == kubeProxyTable
		if err := w.base(r, a, m, c, rs); err != nil {
			return err
		}
	}
	if kubeProxy {
		if err := w.nativeWithoutEndpoints(r, a, m); err != nil {
			return err
		}
	}
	if rs := w.rulesOf(nft.Table{Family: m.Family.NFProto(), Name: "filter"}); rs != nil && rs.Part {
		return w.nativeExternal(r, a, m)
	}
	return nil
}

// base asks one base chain. Rs is set if it is one of iptables-nft.
func (w *ruleWalk) base(r *Report, a hostport.Attachment, m hostport.Mapping, c nft.Chain, rs *Rules) error {
	h := walk.Prerouting
	if c.Hook == nft.Output {
		h = walk.Output
	}
	p, ok := w.packets(r, a, m, h)
	if !ok {
		return nil
	}
	res, err := w.walker(c.Table, m.Family).Walk(c.Name, p)
	if errors.Is(err, walk.ErrTooComplex) {
		err = fmt.Errorf("nftables %s: %w", c.Table, err)
	}
	if err != nil {
		return err
	}
	target := rs != nil && rs.Target && c.Table.Name == "nat"
	if c.Type != "nat" {
		res.NAT = onlyTproxy(res.NAT)
	}
	at := site{at: Point{h, Translation, c.Priority}, passes: res.Passed, target: target || w.s.Last || c.Table.Name == kubeProxyTable, where: whereNative}
	for _, path := range res.NAT {
		judge(r, m, path, at)
	}
	if target && len(res.NAT) == 0 {
		reached(r, m, p, res, at)
	}
	return nil
}

// nativeExternal is withoutEndpoints for a table filter that was not read as text.
func (w *ruleWalk) nativeExternal(r *Report, a hostport.Attachment, m hostport.Mapping) error {
	t := nft.Table{Family: m.Family.NFProto(), Name: "filter"}
	for _, chain := range []string{"INPUT", "FORWARD", "OUTPUT"} {
		rules, err := w.s.NFT.Rules(t, chain)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if slices.ContainsFunc(rules, func(ru nft.Rule) bool { return ru.Target() == noEndpoints }) {
			p, ok := w.packets(r, a, m, walk.Prerouting)
			if !ok {
				return nil
			}
			res, err := w.walker(t, m.Family).Walk(noEndpoints, p)
			if err == nil {
				rejected(r, m, res)
			}
			return err
		}
	}
	return nil
}

// Carries reports whether packets of family f pass tables of t's family.
func Carries(t nft.Table, f hostport.Family) bool {
	return t.Family == nft.Inet || t.Family == f.NFProto()
}

// rulesOf returns what was read as text of the flavour and family whose table t
// is, nil if t is none of iptables-nft.
func (w *ruleWalk) rulesOf(t nft.Table) *Rules {
	if t.Family == nft.Inet || !slices.Contains([]string{"nat", "mangle", "raw", "filter", "security"}, t.Name) {
		return nil
	}
	for i, rs := range w.s.Rules {
		if rs.Flavour == "nft" && rs.Family.NFProto() == t.Family {
			return &w.s.Rules[i]
		}
	}
	return nil
}

func (w *ruleWalk) walker(t nft.Table, f hostport.Family) *walk.Walker {
	key := fmt.Sprint(t, f)
	if w.native[key] == nil {
		var skip func(string) bool // chains of that name elsewhere are not ours
		if w.rulesOf(t) != nil {
			skip = w.isOurs
		}
		w.native[key] = walk.NewNFT(w.s.NFT, t, f, skip)
	}
	return w.native[key]
}

// whereNative says where to find a rule.
func whereNative(path walk.Path) string {
	return fmt.Sprintf("nftables %s %s: %s", path.Last().Table, chains(path), path.Last().Text)
}

// nativeWithoutEndpoints looks for NodePorts that kube-proxy only rejects so far.
func (w *ruleWalk) nativeWithoutEndpoints(r *Report, a hostport.Attachment, m hostport.Mapping) error {
	p, ok := w.packets(r, a, m, walk.Prerouting)
	if !ok {
		return nil
	}
	res, err := w.walker(nft.Table{Family: m.Family.NFProto(), Name: kubeProxyTable}, m.Family).Walk(noEndpointPorts, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another version of kube-proxy
	}
	if err != nil {
		return err
	}
	for _, path := range res.End {
		withoutEndpoints(r, m, path, serviceName(path.Hops[0].Comment))
	}
	return nil
}
