// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/listener"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nft"
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
	if d.report, err = p.find(*a, d.target, store, v, on, t); err != nil {
		return cniError(err, CodeUnreadable)
	}
	d.portmap = deadOfPortmap(&d.report, req.CacheDir)
	if len(d.report.Conflicts) > 0 {
		if !req.WarnOnly {
			return refusal(d.report.Conflicts)
		}
		d.report.Warnings = append(d.report.Warnings, d.report.Conflicts...)
		a.Mappings, d.left = leaveToOwners(a.Mappings, p.claimants(v, a.Mappings, store), a.Owner.Key(), d.backend)
		a.Localhost = a.Localhost && needsLocalhost(*a)
	}
	if len(d.report.TakeOver) > 0 {
		// The dead may have rules in a family that this pod has not.
		err := v.add(t, flavours(), nodeFamilies())
		if err == nil {
			err = v.readTable(nil)
		}
		if err != nil {
			return cniError(err, CodeUnreadable)
		}
	}
	p.warn(messages(d.report.Warnings)...)
	a.Carves = d.report.Carves
	return nil
}

// errChanging means that somebody changes rules faster than they can be read.
var errChanging = errors.New("the nftables rules keep changing")

// maxLooks is how often rules are read again that changed meanwhile.
const maxLooks = 5

// find looks for conflicts of an attachment that would go to that backend, in
// rules that were one generation.
func (p *Plugin) find(a hostport.Attachment, to target, store *state.Store, v *view, on *host.Addressing, t *iptables.Tools) (r conflict.Report, err error) {
	for range maxLooks {
		before := v.scout.generation
		if r, err = p.findOnce(a, to, store, v, on, t); err != nil {
			return r, fmt.Errorf("could not decide who has the port: %w", err)
		}
		now, err := nft.Generation()
		if err != nil || now == before {
			return r, err
		}
		v.scout.renew(on, a.Mappings)
	}
	return r, errChanging
}

func (p *Plugin) findOnce(a hostport.Attachment, to target, store *state.Store, v *view, on *host.Addressing, t *iptables.Tools) (r conflict.Report, err error) {
	snap := conflict.Snapshot{Local: on.Local, Broadcasts: on.Broadcasts, Rules: v.rules(to.flavour), Claims: p.claimants(v, a.Mappings, store)}
	snap.NFT, snap.Sets, snap.Last = v.scout.reader, host.Sets{}, to.backend == netconf.NFTables
	if snap.Native, err = foreignChains(v.scout.reader); err == nil {
		snap.Listeners, err = listener.New().Read(a.Mappings)
	}
	if err == nil {
		snap.EphemeralFrom, snap.EphemeralTo, err = host.EphemeralPorts()
	}
	if err != nil {
		return r, err
	}
	if r, err = conflict.Find(a, snap, ruleset.IsOurs); err == nil && unclear(r) {
		// iptables may know what portguard could not decode, and says it better.
		var more bool
		if more, err = v.complete(t); more && err == nil {
			snap.Rules, snap.Claims = v.rules(to.flavour), p.claimants(v, a.Mappings, store)
			r, err = conflict.Find(a, snap, ruleset.IsOurs)
		}
	}
	return r, err
}

// prepare completes the attachment and finds out where its rules go.
func (p *Plugin) prepare(d *decision, req *netconf.Request, store *state.Store, v *view, on *host.Addressing, t *iptables.Tools) (err error) {
	if d.node, err = settle(req, on, store); err != nil {
		return err
	}
	if d.backend == netconf.IPTables {
		if d.flavour, err = v.target(t); err == nil {
			err = v.readable(d.flavour, req.Attachment.Localhost)
		}
	}
	if err != nil {
		return err
	}
	wanted := &req.Attachment
	if d.whole {
		wanted = nil
	}
	if err := v.readTable(wanted); err != nil {
		return err
	}
	// A guard that is there knows what route_localnet was before us.
	if was, ok := v.guarded(req.Attachment.Link); ok {
		d.node[hostport.IPv4].RouteLocalnet[req.Attachment.Link] = was
	}
	return nil
}

// unclear reports whether something was found that the text of the rules could
// tell more about.
func unclear(r conflict.Report) bool {
	return slices.ContainsFunc(append(slices.Clone(r.Conflicts), r.Warnings...), func(f conflict.Finding) bool {
		return slices.Contains([]conflict.Kind{conflict.NodePort, conflict.NATRule, conflict.Undecodable, conflict.Hidden, conflict.CatchAll}, f.Kind)
	})
}

// claimants are the claims in place that overlap some of ms, completed with what
// their records tell: the pod's name, and whether the owner is dead. Without a
// record the comment tells the namespace. The others' records are not read.
func (p *Plugin) claimants(v *view, ms []hostport.Mapping, store *state.Store) []hostport.Claim {
	claims := slices.DeleteFunc(v.claims(), func(c hostport.Claim) bool {
		return !slices.ContainsFunc(ms, c.Mapping.Overlaps)
	})
	boot, records := p.bootID(), map[string]*state.Record{}
	for i := range claims {
		key := claims[i].Key
		rec, known := records[key]
		if !known {
			rec, _ = store.Load(key)
			records[key] = rec
		}
		switch o := claims[i].Owner; {
		case rec != nil:
			claims[i].Owner = rec.Attachment.Owner
			claims[i].Dead = !rec.Alive(boot)
		case o.Netns != 0:
			claims[i].Dead = state.NetnsGone(p.Proc, o.Netns)
		}
	}
	return claims
}
