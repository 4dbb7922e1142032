// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/walk"
)

// findIPVS looks for NodePorts of kube-proxy's ipvs mode. There a NodePort is an
// IPVS virtual server; the rules of chain KUBE-NODE-PORT only mark its packets,
// and sets hold the ports (kubernetes pkg/proxy/ipvs/proxier.go). A Service's
// name is not left anywhere.
func (w *ruleWalk) findIPVS(r *Report, a hostport.Attachment, m hostport.Mapping, i int) error {
	nat := w.s.Rules[i].Dump.Table("nat")
	if w.s.Sets == nil || !jumps(nat, "PREROUTING", "KUBE-SERVICES") || !jumps(nat, "KUBE-SERVICES", "KUBE-NODE-PORT") {
		return nil // left behind by another mode, if at all
	}
	p, ok := w.packets(r, a, m, walk.Prerouting)
	if !ok {
		return nil
	}
	for _, ru := range nat.Chain("KUBE-NODE-PORT").Rules {
		set, ok := ru.Spec().Option("--match-set")
		if !ok {
			continue
		}
		res, err := w.nat[i].Match(ru, p)
		if err != nil {
			return err
		}
		if res == walk.Yes || res == walk.Some {
			r.refuse(Finding{Kind: NodePort, Mapping: m, Who: "a Service's NodePort", Where: "kube-proxy's ipset " + set.Value(), At: both(Translation, PrioIptables), Dst: p.Dst,
				Message: fmt.Sprintf("hostPort %s is taken: it is a NodePort of a Service (in kube-proxy's ipset %s); change the Service's nodePort or choose another hostPort", m, set.Value())})
			return nil
		}
	}
	return nil
}

// jumps reports whether a rule of chain leads to another chain.
func jumps(t *iptsave.Table, chain, to string) bool {
	c := t.Chain(chain)
	return c != nil && t.Chain(to) != nil &&
		slices.ContainsFunc(c.Rules, func(r iptsave.Rule) bool { return r.Spec().Target == to })
}
