// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/ruleset"
	"github.com/portguard/portguard/pkg/state"
)

// Del removes what the attachment owns. It needs nothing but the container ID
// and the interface name, and finds nothing to be a success.
func (p *Plugin) Del(args *skel.CmdArgs) error {
	t := netconf.ParseTeardown(args.StdinData)
	store := state.Open(t.DataDir)
	owner := netconf.OwnerOf(t.Name, args)
	if !store.Has(owner.Key()) && !t.HasPorts && !store.Unknown() {
		return nil // a pod without hostPorts
	}
	unlock, err := store.Lock(t.LockTimeout)
	if err != nil {
		return cniError(err, CodeApply)
	}
	defer unlock()
	return cniError(p.del(owner.Key(), store, p.tools(t.LockTimeout)), CodeApply)
}

func (p *Plugin) del(key string, store *state.Store, t *iptables.Tools) error {
	rec, _ := store.Load(key)
	where := flavours()
	if rec != nil && slices.Contains(where, iptables.Flavour(rec.Flavour)) {
		where = []iptables.Flavour{iptables.Flavour(rec.Flavour)}
	}
	v, err := look(t, where, nodeFamilies())
	if err != nil {
		return err
	}
	gone := v.attachment(key, rec)
	c := change{view: v, want: map[place]*ruleset.Layout{}}
	for _, at := range v.places {
		c.want[at] = v.layouts[at].Remove(key)
	}
	if err := c.apply(t); err != nil {
		return err
	}
	if err := p.dropUDP(gone, true); err != nil {
		p.warn(err.Error())
	}
	if err := store.Delete(key); err != nil {
		return err
	}
	p.noteComplete(store, v, key, rec)
	return nil
}

// nodeFamilies are those the kernel has.
func nodeFamilies() []hostport.Family {
	if host.HasIPv6() {
		all := hostport.Families()
		return all[:]
	}
	return []hostport.Family{hostport.IPv4}
}

// attachment rebuilds what is needed of the attachment to drop its UDP flows:
// from the rules, which are the truth, or from the record if they are gone.
func (v *view) attachment(key string, rec *state.Record) hostport.Attachment {
	a := hostport.Attachment{Localhost: true}
	if rec != nil {
		a = rec.Attachment
		a.Mappings, a.Pods, a.Carves = nil, nil, nil
	}
	for _, at := range v.places {
		l := v.layouts[at]
		for _, c := range l.Claims() {
			if c.Key == key {
				a.Mappings = append(a.Mappings, c.Mapping)
			}
		}
		if pod := l.Target(key); pod.IsValid() {
			a.Pods = append(a.Pods, netip.PrefixFrom(pod, pod.BitLen()))
		}
		a.Carves = append(a.Carves, l.Carves(key)...)
	}
	if len(a.Mappings) == 0 && rec != nil {
		return rec.Attachment
	}
	return a
}

// noteComplete marks the state directory once a look at all places has shown
// that no rules are without a record.
func (p *Plugin) noteComplete(store *state.Store, v *view, key string, rec *state.Record) {
	if rec != nil || !store.Unknown() {
		return
	}
	for _, c := range v.claims() {
		if c.Key != key && !store.Has(c.Key) {
			return
		}
	}
	if err := store.MarkComplete(); err != nil {
		p.warn(err.Error())
	}
}
