// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"errors"

	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/walk"
)

// errNoSetName: a set of NodePorts that cannot be asked may hold any port.
var errNoSetName = errors.New("could not look for NodePorts: the kernel does not tell the names of the ipsets in kube-proxy's chain KUBE-NODE-PORT; Linux 4.20 or newer does")

// findIPVS looks for NodePorts of kube-proxy's ipvs mode. There a NodePort is an
// IPVS virtual server; the rules of chain KUBE-NODE-PORT only mark its packets,
// and sets hold the ports (kubernetes pkg/proxy/ipvs/proxier.go). A Service's
// name is not left anywhere.
func (q query) findIPVS() error {
	if q.s.Sets == nil {
		return nil
	}
	nat := q.own("nat")
	for _, jump := range [][2]string{{"PREROUTING", "KUBE-SERVICES"}, {"KUBE-SERVICES", "KUBE-NODE-PORT"}} {
		if there, err := q.jumps(nat, jump[0], jump[1]); err != nil || !there {
			return err // left behind by another mode, if at all
		}
	}
	p, ok := q.packets(walk.Prerouting)
	if !ok {
		return nil
	}
	hops, err := q.walker(nat).Matches("KUBE-NODE-PORT", p)
	if err != nil {
		return err
	}
	for _, h := range hops {
		switch {
		case len(h.IPSets) == 0:
		case h.IPSets[0] == "":
			return errNoSetName
		case h.Match == walk.Yes, h.Match == walk.Some:
			f := Finding{Kind: finding.NodePort, Mapping: q.m, Who: "a Service's NodePort", Where: "kube-proxy's ipset " + h.IPSets[0], At: both(Translation, PrioIptables), Dst: p.Dst}
			f.say(f.Kind.Remedy(), "hostPort %s is taken: it is a NodePort of a Service (in kube-proxy's ipset %s)", q.m, h.IPSets[0])
			q.r.add(f)
			return nil
		}
	}
	return nil
}
