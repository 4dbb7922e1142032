// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"

	"github.com/containernetworking/cni/pkg/ns"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/listener"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/ruleset"
	"github.com/portguard/portguard/pkg/state"
)

// Add installs the mappings of the request, or refuses and changes nothing.
func (p *Plugin) Add(args *skel.CmdArgs) error {
	c, err := netconf.Parse(args.StdinData)
	if err != nil {
		return cniError(err, types.ErrDecodingFailure)
	}
	req, err := netconf.NewRequest(c, args)
	if err != nil {
		return cniError(err, types.ErrInvalidNetworkConfig)
	}
	store := state.Open(c.DataDir)
	// A container that is added again without ports loses those it had.
	if len(req.Attachment.Mappings) > 0 || store.Has(req.Attachment.Owner.Key()) {
		p.warn(c.Notes...)
		netns, err := state.StatNetns(args.Netns)
		if err != nil {
			return types.NewError(types.ErrInvalidNetNS, fmt.Sprintf("CNI_NETNS: %v", err), "")
		}
		if err := refuseOwnNetns(args); err != nil {
			return err
		}
		if err := p.add(req, store, netns); err != nil {
			return err
		}
	}
	p.warn(req.Warnings...)
	return types.PrintResult(req.PrevResult, req.CNIVersion)
}

// refuseOwnNetns does before the change what skel does after it.
func refuseOwnNetns(args *skel.CmdArgs) error {
	if args.NetnsOverride != "" {
		return nil // skel looks at its value
	}
	own, err := ns.CheckNetNS(args.Netns)
	if err != nil {
		return err
	}
	if own {
		return types.NewError(types.ErrInvalidNetNS, "CNI_NETNS is the network namespace of the host", "")
	}
	return nil
}

func (p *Plugin) add(req *netconf.Request, store *state.Store, netns state.Netns) error {
	unlock, err := store.Lock(req.LockTimeout)
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	defer unlock()
	if err := store.MarkUsed(); err != nil {
		return cniError(err, types.ErrIOFailure)
	}
	a, t := &req.Attachment, p.tools(req.LockTimeout)
	old, _ := store.Load(a.Owner.Key())
	v, err := look(t, flavours(), families(a, old))
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	flavour, err := v.target(t)
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	report, node, err := p.decide(req, store, v, flavour)
	if err != nil {
		return err
	}
	rec := state.Record{Attachment: *a, Netns: netns, BootID: p.bootID(), Backend: "iptables",
		Flavour: string(flavour), Warnings: append(messages(report.Warnings), req.Warnings...)}
	if err := p.commit(rec, old, store, v, report.TakeOver, node, t); err != nil {
		return err
	}
	p.afterAdd(a, store, v)
	return nil
}

// commit writes the record, then the rules: what is killed in between leaves a
// record without rules, which DEL removes, never rules without a record.
func (p *Plugin) commit(rec state.Record, old *state.Record, store *state.Store, v *view, dead []string, node map[hostport.Family]ruleset.Node, t *iptables.Tools) error {
	key := rec.Attachment.Owner.Key()
	if err := store.Save(rec); err != nil {
		return cniError(err, types.ErrIOFailure)
	}
	c := change{view: v, want: map[place]*ruleset.Layout{}}
	for _, at := range v.places {
		if string(at.flavour) == rec.Flavour {
			c.want[at] = v.layouts[at].Put(rec.Attachment, node[at.family], dead...)
		} else {
			c.want[at] = v.layouts[at].Remove(append([]string{key}, dead...)...)
		}
	}
	err := c.apply(t)
	if err != nil {
		if old != nil {
			_ = store.Save(*old)
		} else {
			_ = store.Delete(key)
		}
		return cniError(err, CodeApply)
	}
	for _, k := range dead {
		if err := store.Delete(k); err != nil {
			p.warn(err.Error())
		}
	}
	return nil
}

// decide completes the attachment with what the node is like and looks for
// conflicts.
func (p *Plugin) decide(req *netconf.Request, store *state.Store, v *view, flavour iptables.Flavour) (conflict.Report, map[hostport.Family]ruleset.Node, error) {
	var none conflict.Report
	a := &req.Attachment
	snap, err := p.snapshot(a, store, v, flavour)
	if err != nil {
		return none, nil, cniError(err, CodeUnreadable)
	}
	node, err := p.node(req, snap.Addrs)
	if err != nil {
		return none, nil, cniError(err, CodeUnreadable)
	}
	report, err := conflict.Find(*a, snap, ruleset.IsOurs)
	if err != nil {
		return none, nil, cniError(fmt.Errorf("could not decide who has the port: %w", err), CodeUnreadable)
	}
	if len(report.Conflicts) > 0 {
		if !req.WarnOnly {
			return none, nil, refusal(report.Conflicts)
		}
		report.Warnings = append(report.Warnings, report.Conflicts...)
	}
	p.warn(messages(report.Warnings)...)
	a.Carves = report.Carves
	return report, node, nil
}

func (p *Plugin) snapshot(a *hostport.Attachment, store *state.Store, v *view, flavour iptables.Flavour) (conflict.Snapshot, error) {
	s := conflict.Snapshot{Rules: v.rules(flavour), Claims: p.named(v.claims(), store)}
	var err error
	if s.Addrs, err = host.Addrs(); err != nil {
		return s, err
	}
	if s.Listeners, err = listener.New().Read(a.Mappings); err != nil {
		return s, err
	}
	s.EphemeralFrom, s.EphemeralTo, err = host.EphemeralPorts()
	return s, err
}

// named completes claims with what their records tell: the pod's name, and
// whether the owner is dead.
func (p *Plugin) named(claims []hostport.Claim, store *state.Store) []hostport.Claim {
	boot := p.bootID()
	for i := range claims {
		if rec, err := store.Load(claims[i].Key); err == nil {
			claims[i].Owner = rec.Attachment.Owner
			claims[i].Dead = !rec.Alive(boot)
		}
	}
	return claims
}

// families are those the request maps, and those its last ADD did.
func families(a *hostport.Attachment, old *state.Record) []hostport.Family {
	var out []hostport.Family
	for _, f := range hostport.Families() {
		if len(a.Of(f)) > 0 || old != nil && len(old.Attachment.Of(f)) > 0 {
			out = append(out, f)
		}
	}
	return out
}

// afterAdd does what a success does not depend on.
func (p *Plugin) afterAdd(a *hostport.Attachment, store *state.Store, v *view) {
	if err := p.dropUDP(*a, false); err != nil {
		p.warn(err.Error())
	}
	for _, c := range v.claims() {
		if !store.Has(c.Key) {
			return
		}
	}
	if err := store.MarkComplete(); err != nil {
		p.warn(err.Error())
	}
}
