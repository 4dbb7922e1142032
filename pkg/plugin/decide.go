// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/ruleset"
	"github.com/portguard/portguard/pkg/state"
)

// A target is where mappings go: a backend, and which iptables if it is that.
type target struct {
	backend string
	flavour iptables.Flavour
}

// A decision is what an ADD will do.
type decision struct {
	target
	// whole asks for all of our table to be read.
	whole bool
	// ipvs is set if kube-proxy is in ipvs mode.
	ipvs   bool
	report conflict.Report
	// left are the mappings that stay with other owners.
	left []hostport.Mapping
	// portmap are the dead containers whose rules portmap left behind.
	portmap []hostport.Owner
	node    map[hostport.Family]ruleset.Node
}

// decide completes the attachment with what the node is like and looks for
// conflicts.
func (p *Plugin) decide(d *decision, req *netconf.Request, store *state.Store, v *view, on *host.Addressing, t *iptables.Tools) error {
	a := &req.Attachment
	if err := p.prepare(d, req, store, v, on, t); err != nil {
		return cniError(err, CodeUnreadable)
	}
	var err error
	if d.report, err = p.finder(d.target, store, v, on, t).find(*a); err != nil {
		return cniError(err, CodeUnreadable)
	}
	d.portmap = deadOfPortmap(&d.report, req.CacheDir)
	if len(d.report.Conflicts) > 0 {
		if !req.WarnOnly {
			return refusal(d.report.Conflicts)
		}
		d.report.Warnings = append(d.report.Warnings, d.report.Conflicts...)
		a.Mappings, d.left = leaveToOwners(a.Mappings, p.finder(d.target, store, v, on, t).claimants(a.Mappings), a.Owner.Key(), d.backend)
		a.Localhost = a.Localhost && needsLocalhost(*a)
	}
	if len(d.report.TakeOver) > 0 {
		// The dead may have rules in a family that this pod has not, and on other ports.
		v.widen()
		err := v.add(t, flavours(), nodeFamilies())
		if err == nil {
			err = v.readTable(nil)
		}
		if err != nil {
			return cniError(err, CodeUnreadable)
		}
	}
	p.warn(conflict.Messages(d.report.Warnings)...)
	a.Carves = d.report.Carves
	return nil
}

// locate finds out in which iptables mappings go, if they do, and whether its rules
// could be read.
func (v *view) locate(to *target, localhost bool, t *iptables.Tools) (err error) {
	if to.backend != netconf.IPTables {
		return nil
	}
	if to.flavour, err = v.target(t); err == nil {
		err = v.readable(to.flavour, localhost)
	}
	return err
}

// prepare completes the attachment and finds out where its rules go.
func (p *Plugin) prepare(d *decision, req *netconf.Request, store *state.Store, v *view, on *host.Addressing, t *iptables.Tools) (err error) {
	if d.node, err = settle(req, on); err != nil {
		return err
	}
	if err := v.locate(&d.target, req.Attachment.Localhost, t); err != nil {
		return err
	}
	wanted := &req.Attachment
	if d.whole {
		wanted = nil
	}
	if err := v.readTable(wanted); err != nil {
		return err
	}
	link := req.Attachment.Link
	if link == "" {
		return nil
	}
	// A guard that is there knows what route_localnet was before us.
	was, ok := v.guarded(link)
	if !ok {
		was, err = localnetWas(link, store)
	}
	d.node[hostport.IPv4].RouteLocalnet[link] = was
	return err
}
