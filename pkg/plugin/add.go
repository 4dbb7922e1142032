// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/ns"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
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
			return badNetns(err)
		}
		if err := refuseOwnNetns(args); err != nil {
			return err
		}
		req.Attachment.Owner.Netns = netns.Inode
		err = p.add(req, store, netns)
		if errors.Is(err, nftconn.ErrNoKernel) && c.Backend == netconf.Auto && c.Syntax == "" {
			p.warn(insteadOf(err))
			c.Backend = netconf.IPTables
			if req, err = netconf.NewRequest(c, args); err == nil {
				req.Attachment.Owner.Netns = netns.Inode
				err = p.add(req, store, netns)
			}
		}
		if err != nil {
			return cniError(err, CodeApply)
		}
	}
	p.warn(req.Warnings...)
	if req.Passed != nil {
		_, err := os.Stdout.Write(append(req.Passed, '\n'))
		return err
	}
	return types.PrintResult(req.PrevResult, req.CNIVersion)
}

// insteadOf warns that nftables does not work although it was chosen.
func insteadOf(err error) string { return fmt.Sprintf("%v; iptables is used instead", err) }

// refuseOwnNetns does before the change what skel does after it.
func refuseOwnNetns(args *skel.CmdArgs) error {
	if args.NetnsOverride != "" {
		return nil // skel looks at its value
	}
	own, err := ns.CheckNetNS(args.Netns)
	if err != nil {
		return badNetns(err)
	}
	if own {
		return badNetns(errors.New("it is the network namespace of the host"))
	}
	return nil
}

func badNetns(err error) error {
	return newError(types.ErrInvalidNetNS, fmt.Sprintf("CNI_NETNS: %v; the container runtime must name the network namespace of the pod", err))
}

func (p *Plugin) add(req *netconf.Request, store *state.Store, netns state.Netns) (err error) {
	unlock, err := store.Lock(req.LockTimeout)
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	defer unlock()
	d := &decision{}
	defer func() { p.count(store, d.report, err) }()
	fresh := !store.Used()
	if err := store.MarkUsed(); err != nil {
		return cniError(err, types.ErrIOFailure)
	}
	a, t := &req.Attachment, p.tools(req.LockTimeout)
	old, _ := store.Load(a.Owner.Key())
	had := store.Has(a.Owner.Key()) // be it unreadable
	on, err := host.Addresses()
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	// What a container that is added again has, and what has no record, only all of
	// our rules tell.
	d.ipvs, d.whole = on.IPVS, fresh || had || on.IPVS || store.Unknown()
	v, backend, err := p.survey(req, need{old, had && old == nil, d.whole}, on, t)
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	d.backend = backend
	if err := p.decide(d, req, store, v, on, t); err != nil {
		return err
	}
	rec := d.record(req, old)
	rec.Netns, rec.BootID, rec.Created = netns, p.bootID(), time.Now().UTC().Truncate(time.Second)
	if err := p.commitTwice(rec, old, store, v, d, t); err != nil {
		return err
	}
	// Until the dead one's rules go, they hide ours. A failed ADD has not touched them.
	for _, o := range d.portmap {
		if err := removePortmap(v, t, o); err != nil {
			return cniError(errors.Join(err, p.del(a.Owner, store, t)), CodeApply)
		}
	}
	if err := dropUDP(*a, false, d.report.Warnings); err != nil {
		p.warn(told(err, CodeApply))
	}
	if fresh || v.whole() {
		p.noteComplete(store, v)
	}
	return nil
}

// A need is what is known of an attachment that is added: its record, whether it may
// have rules that nobody knows of, and whether all of our rules matter to it.
type need struct {
	old            *state.Record
	unknown, whole bool
}

// survey chooses the backend and reads the rules that an ADD must know: of both
// families if others may have to come out of nftables, or if what the attachment
// has is not known.
func (p *Plugin) survey(req *netconf.Request, n need, on *host.Addressing, t *iptables.Tools) (*view, string, error) {
	a := &req.Attachment
	backend, why, err := choose(req.Config, on)
	if err != nil {
		return nil, "", err
	}
	p.debug("backend %s: %s", backend, why)
	s := &scout{all: on.IPVS, ours: backend == netconf.NFTables}
	if !n.whole {
		s.asked = a
	}
	s.renew(on, a.Mappings)
	fams := families(a, n.old)
	if on.IPVS || n.unknown {
		fams = nodeFamilies()
	}
	v, err := look(t, s, flavours(), fams)
	return v, backend, err
}

// record is what is kept of the attachment, besides whose it is.
func (d *decision) record(req *netconf.Request, old *state.Record) state.Record {
	a := req.Attachment
	return state.Record{Attachment: a, Backend: d.backend, Flavour: string(d.flavour), Left: d.left,
		LocalnetWas: d.node[hostport.IPv4].RouteLocalnet[a.Link],
		Moved:       old != nil && (old.Moved || old.Backend != d.backend || old.Flavour != string(d.flavour)),
		Warnings:    append(conflict.Messages(d.report.Warnings), req.Warnings...)}
}

// commitTwice commits, and again if something was there already that no look-up of
// ports has shown: no claim on one, but what a pod that is gone left of the address,
// which is this pod's now. The whole table tells.
func (p *Plugin) commitTwice(rec state.Record, old *state.Record, store *state.Store, v *view, d *decision, t *iptables.Tools) error {
	err := p.commit(rec, old, store, v, d, t)
	if !errors.Is(err, nft.ErrExists) || v.table.Whole {
		return err
	}
	v.scout.reader = nftconn.NewReader() // what was true is what did not work
	if err := v.readTable(nil); err != nil {
		return err
	}
	return p.commit(rec, old, store, v, d, t)
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
		c.open = []string{rec.Attachment.Link}
	}
	if d.backend == netconf.NFTables {
		c.table = v.table.Put(rec.Attachment, rec.LocalnetWas, dead...)
	}
	for _, at := range v.places {
		if d.backend == netconf.IPTables && at.flavour == d.flavour {
			c.want[at] = v.layouts[at].Put(rec.Attachment, d.node[at.family], dead...)
		} else {
			c.want[at] = v.layouts[at].Remove(gone...)
		}
	}
	moved := p.leaveNftables(&c, d, store)
	if err := c.apply(t); err != nil {
		switch {
		case errors.Is(err, errNotUndone): // the record leads DEL to the rest
		case old != nil:
			_ = store.Save(*old)
		default:
			_ = store.Delete(key)
		}
		if a := rec.Attachment; len(a.ConditionsV4)+len(a.ConditionsV6) > 0 {
			err = advised{fmt.Errorf("%w; look at conditionsV4 %q and conditionsV6 %q", err, a.ConditionsV4, a.ConditionsV6)}
		}
		return err
	}
	for _, r := range moved {
		if err := store.Save(r); err != nil {
			p.warn(told(err, CodeApply))
		}
	}
	for _, k := range dead {
		if err := store.Delete(k); err != nil {
			p.warn(told(err, CodeApply))
		}
	}
	return nil
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
