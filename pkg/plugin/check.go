// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/ruleset"
	"github.com/portguard/portguard/pkg/state"
)

// Check compares the rules that are there with those that ADD installed, by
// content and order.
func (p *Plugin) Check(args *skel.CmdArgs) error {
	c, err := netconf.Parse(args.StdinData)
	if err != nil {
		return cniError(err, types.ErrDecodingFailure)
	}
	req, err := netconf.NewRequest(c, args)
	if err != nil {
		return cniError(err, types.ErrInvalidNetworkConfig)
	}
	if len(req.Attachment.Mappings) == 0 {
		return nil
	}
	rec, _ := state.Open(c.DataDir).Load(req.Attachment.Owner.Key())
	if netns, err := state.StatNetns(args.Netns); err == nil {
		req.Attachment.Owner.Netns = netns.Inode
	}
	t := p.tools(c.LockTimeout)
	v, err := lookForCheck(t, &req.Attachment, rec)
	var lost []string
	if err == nil {
		lost, err = v.check(req, rec, t)
	}
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	if len(lost) == 0 {
		return nil
	}
	return notAsInstalled(req.Attachment.Owner, lost)
}

// notAsInstalled is the error of a CHECK that found something lost.
func notAsInstalled(o hostport.Owner, lost []string) error {
	return newError(CodeNotAsInstalled, fmt.Sprintf("hostPorts of %s are not as installed: %s; run \"portguard restore\" on the node or restart the pod", o, lost[0]), lost[1:]...)
}

// lookForCheck reads our table, and the rest where the attachment may be in
// iptables.
func lookForCheck(t *iptables.Tools, a *hostport.Attachment, rec *state.Record) (*view, error) {
	s := &scout{reader: nftconn.NewReader(), all: true}
	v, err := look(t, s, nil, nil)
	if err == nil {
		err = v.readTable(nil)
	}
	if err != nil || rec != nil && rec.Backend == netconf.NFTables || rec == nil && v.table.Has(a.Owner.Key()) {
		return v, err
	}
	return v, v.add(t, flavours(), families(a, rec))
}

// check lists what is lost.
func (v *view) check(req *netconf.Request, rec *state.Record, t *iptables.Tools) ([]string, error) {
	on, err := host.Addresses()
	if err != nil {
		return nil, err
	}
	a, backend, flavour, err := v.installed(req, rec, on, t)
	if err == nil && backend == netconf.IPTables {
		err = v.readable(flavour, a.Localhost)
	}
	if err != nil {
		return nil, err
	}
	var lost []string
	if backend == netconf.NFTables {
		lost = v.table.Check(a)
	}
	asked := a.Mappings
	if rec != nil {
		asked = slices.Concat(a.Mappings, rec.Left)
	}
	if !sameMappings(asked, req.Attachment.Mappings) {
		lost = append(lost, "the configuration asks for other ports than ADD installed")
	}
	if !slices.Equal(a.Pods, req.Attachment.Pods) {
		lost = append(lost, fmt.Sprintf("the pod has the addresses %v, and ADD mapped to %v", req.Attachment.Pods, a.Pods))
	}
	for _, at := range v.places {
		if at.flavour != flavour {
			continue
		}
		sets, err := serviceSets(on, at.family)
		if err != nil {
			return nil, err
		}
		for _, what := range v.layouts[at].Check(a, sets) {
			lost = append(lost, fmt.Sprintf("iptables-%s: %s", at.flavour, what))
		}
	}
	if a.Localhost {
		if on, err := host.RouteLocalnet(a.Link); err != nil || !on {
			lost = append(lost, fmt.Sprintf("route_localnet of %s is off, so localhost does not reach the pod", a.Link))
		}
	}
	if backend == netconf.NFTables {
		return lost, nil
	}
	hidden, err := v.hidden(a, on, flavour)
	return append(lost, hidden...), err
}

// hidden lists the rules that keep packets from the mappings. A NodePort or a
// listener that came later is not among them: nothing of ours is lost then.
func (v *view) hidden(a hostport.Attachment, on *host.Addressing, flavour iptables.Flavour) ([]string, error) {
	report, err := conflict.Find(a, conflict.Snapshot{Local: on.Local, Rules: v.rules(flavour)}, ruleset.IsOurs)
	var out []string
	for _, f := range report.Conflicts {
		if f.Kind == conflict.Hidden {
			out = append(out, f.Message)
		}
	}
	return out, err
}

// installed is the attachment as ADD made it, and where: from its record, or, if
// the state was wiped, from the request and what only the rules can tell.
func (v *view) installed(req *netconf.Request, rec *state.Record, on *host.Addressing, t *iptables.Tools) (a hostport.Attachment, backend string, flavour iptables.Flavour, err error) {
	if rec != nil {
		return rec.Attachment, rec.Backend, iptables.Flavour(rec.Flavour), nil
	}
	if err := settleLocalhost(req); err != nil {
		return req.Attachment, "", "", err
	}
	a = req.Attachment
	a.Networks = on.Networks
	if v.table.Has(a.Owner.Key()) {
		return v.table.Seen(a), netconf.NFTables, "", nil
	}
	found := false
	var networks []netip.Prefix
	for _, at := range v.places {
		l, key := v.layouts[at], a.Owner.Key()
		if l.Has(key) {
			found, flavour = true, at.flavour
			a.Carves = append(a.Carves, l.Carves(key)...)
			a.Excludes = append(a.Excludes, l.Excludes(key, a.Excludes)...)
			networks = append(networks, l.Networks(a)...)
		}
	}
	if len(networks) > 0 {
		a.Networks = networks
	}
	if !found {
		if backend, _, err = choose(req.Config, on); err != nil || backend == netconf.NFTables {
			return a, backend, "", err
		}
		flavour, err = v.target(t)
	}
	return a, netconf.IPTables, flavour, err
}

func sameMappings(a, b []hostport.Mapping) bool {
	if len(a) != len(b) {
		return false
	}
	for _, m := range a {
		if !slices.Contains(b, m) {
			return false
		}
	}
	return true
}
