// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"slices"

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
	fresh := !store.Used()
	if err := store.MarkUsed(); err != nil {
		return cniError(err, types.ErrIOFailure)
	}
	a, t := &req.Attachment, p.tools(req.LockTimeout)
	old, _ := store.Load(a.Owner.Key())
	on, err := host.Addresses()
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	reader := readAhead(on, a.Mappings)
	backend, why, err := choose(req.Config, on)
	if err != nil {
		return types.NewError(types.ErrInvalidNetworkConfig, err.Error(), "")
	}
	p.debug("backend %s: %s", backend, why)
	s := &scout{reader: reader, all: on.IPVS, ours: backend == netconf.NFTables}
	v, err := look(t, s, flavours(), families(a, old))
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	// What a container that is added again has, and what has no record, only the
	// whole table tells.
	d := &decision{backend: backend, whole: fresh || old != nil || store.Unknown()}
	if err := p.decide(d, req, store, v, on, t); err != nil {
		return err
	}
	rec := state.Record{Attachment: *a, Netns: netns, BootID: p.bootID(), Backend: backend,
		Flavour: string(d.flavour), LocalnetWas: d.node[hostport.IPv4].RouteLocalnet[a.Link],
		Moved:    old != nil && (old.Moved || old.Backend != backend || old.Flavour != string(d.flavour)),
		Warnings: append(messages(d.report.Warnings), req.Warnings...)}
	if err := p.commit(rec, old, store, v, d, t); err != nil {
		return err
	}
	if err := dropUDP(*a, false, d.report.Warnings); err != nil {
		p.warn(err.Error())
	}
	if fresh || v.whole() {
		p.noteComplete(store, v)
	}
	return nil
}

// A decision is what an ADD will do.
type decision struct {
	// backend is where the mappings go, flavour which iptables if it is that.
	backend string
	flavour iptables.Flavour
	// whole asks for all of our table to be read.
	whole  bool
	report conflict.Report
	node   map[hostport.Family]ruleset.Node
}

// commit writes the record, then the rules: what is killed in between leaves a
// record without rules, which DEL removes, never rules without a record.
func (p *Plugin) commit(rec state.Record, old *state.Record, store *state.Store, v *view, d *decision, t *iptables.Tools) error {
	key, dead := rec.Attachment.Owner.Key(), d.report.TakeOver
	if err := store.Save(rec); err != nil {
		return cniError(err, types.ErrIOFailure)
	}
	gone := append([]string{key}, dead...)
	c := change{view: v, want: map[place]*ruleset.Layout{}, table: v.table.Remove(gone...), inUse: linksInUse(store, gone...)}
	if rec.Attachment.Localhost {
		c.open = rec.Attachment.Link
	}
	if d.backend == netconf.NFTables {
		c.table = v.table.Put(unclaimed(rec.Attachment, d.report), rec.LocalnetWas, dead...)
	}
	for _, at := range v.places {
		if d.backend == netconf.IPTables && at.flavour == d.flavour {
			c.want[at] = v.layouts[at].Put(rec.Attachment, d.node[at.family], dead...)
		} else {
			c.want[at] = v.layouts[at].Remove(gone...)
		}
	}
	if err := c.apply(t); err != nil {
		switch {
		case errors.Is(err, errNotUndone): // the record leads DEL to the rest
		case old != nil:
			_ = store.Save(*old)
		default:
			_ = store.Delete(key)
		}
		if a := rec.Attachment; len(a.ConditionsV4)+len(a.ConditionsV6) > 0 {
			err = fmt.Errorf("%w (conditionsV4 %q, conditionsV6 %q)", err, a.ConditionsV4, a.ConditionsV6)
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

// unclaimed leaves out the mappings that another live attachment has, which only
// the policy "warn" lets pass: a key of a map has one value.
func unclaimed(a hostport.Attachment, r conflict.Report) hostport.Attachment {
	a.Mappings = slices.DeleteFunc(slices.Clone(a.Mappings), func(m hostport.Mapping) bool {
		return slices.ContainsFunc(r.Warnings, func(f conflict.Finding) bool { return f.Kind == conflict.Claimed && f.Mapping == m })
	})
	return a
}

// decide completes the attachment with what the node is like and looks for
// conflicts.
func (p *Plugin) decide(d *decision, req *netconf.Request, store *state.Store, v *view, on *host.Addressing, t *iptables.Tools) error {
	a := &req.Attachment
	if err := p.prepare(d, req, store, v, on, t); err != nil {
		return cniError(err, CodeUnreadable)
	}
	var err error
	snap := conflict.Snapshot{Local: on.Local, Broadcasts: on.Broadcasts, Rules: v.rules(d.flavour), Claims: p.named(v.claims(), store)}
	snap.NFT, snap.Sets, snap.Last = v.scout.reader, host.Sets{}, d.backend == netconf.NFTables
	if snap.Native, err = foreignChains(v.scout.reader); err == nil {
		snap.Listeners, err = listener.New().Read(a.Mappings)
	}
	if err == nil {
		snap.EphemeralFrom, snap.EphemeralTo, err = host.EphemeralPorts()
	}
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	if d.report, err = conflict.Find(*a, snap, ruleset.IsOurs); err == nil && unclear(d.report) {
		// iptables may know what portguard could not decode, and says it better.
		var more bool
		if more, err = v.complete(t); more && err == nil {
			snap.Rules, snap.Claims = v.rules(d.flavour), p.named(v.claims(), store)
			d.report, err = conflict.Find(*a, snap, ruleset.IsOurs)
		}
	}
	if err != nil {
		return cniError(fmt.Errorf("could not decide who has the port: %w", err), CodeUnreadable)
	}
	if len(d.report.Conflicts) > 0 {
		if !req.WarnOnly {
			return refusal(d.report.Conflicts)
		}
		d.report.Warnings = append(d.report.Warnings, d.report.Conflicts...)
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

// named completes claims with what their records tell: the pod's name, and
// whether the owner is dead.
func (p *Plugin) named(claims []hostport.Claim, store *state.Store) []hostport.Claim {
	boot, records := p.bootID(), map[string]*state.Record{}
	for i := range claims {
		key := claims[i].Key
		rec, known := records[key]
		if !known {
			rec, _ = store.Load(key)
			records[key] = rec
		}
		if rec != nil {
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
