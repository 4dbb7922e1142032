// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
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
	return cniError(p.del(owner, store, p.tools(t.LockTimeout)), CodeApply)
}

func (p *Plugin) del(owner hostport.Owner, store *state.Store, t *iptables.Tools) error {
	key := owner.Key()
	rec, _ := store.Load(key)
	s := &scout{reader: nftconn.NewReader(), ours: true}
	if rec != nil && rec.Flavour == string(iptables.NFT) && !rec.Moved && !store.Unknown() {
		s.part(rec, store)
	}
	v, err := p.removeSeen(s, rec, store, t, key)
	if err != nil && s.asked != nil { // a record need not tell all
		s = &scout{reader: nftconn.NewReader(), ours: true}
		v, err = p.removeSeen(s, rec, store, t, key)
	}
	if err != nil || rec != nil {
		return err
	}
	// Perhaps it was added when the conflist named portmap.
	return removePortmap(v, t, owner)
}

// part makes s read what a DEL of the record's attachment needs, if the records tell
// what all others have.
func (s *scout) part(rec *state.Record, store *state.Store) {
	var stay []hostport.Attachment
	for _, key := range store.Keys() {
		other, err := store.Load(key)
		if err != nil || other.Moved {
			return
		}
		if other.Backend == netconf.IPTables && other.Flavour == rec.Flavour && key != rec.Attachment.Owner.Key() {
			stay = append(stay, other.Attachment)
		}
	}
	s.asked, s.leaving, s.stay = &rec.Attachment, true, stay
	s.list()
}

// removeSeen removes what the attachment owns as far as s sees it.
func (p *Plugin) removeSeen(s *scout, rec *state.Record, store *state.Store, t *iptables.Tools, key string) (*view, error) {
	v, err := lookForDel(t, s, rec, store)
	if err == nil {
		err = v.assume(rec)
	}
	if err == nil {
		err = v.readTable(nil)
	}
	if errors.Is(err, nfttable.ErrVersion) { // the rest must go all the same
		p.warn(told(err, CodeApply))
		v.table, err = nfttable.Absent(), nil
	}
	if err != nil {
		return v, err
	}
	return v, p.remove(v, store, t, key)
}

// remove takes away what the attachments of those keys own, of what v has seen.
func (p *Plugin) remove(v *view, store *state.Store, t *iptables.Tools, keys ...string) error {
	c := change{view: v, want: map[place]*ruleset.Layout{}, table: v.table.Remove(keys...), inUse: linksInUse(store, keys...)}
	for _, at := range v.places {
		c.want[at] = v.layouts[at].Remove(keys...)
	}
	if err := c.apply(t); err != nil {
		return err
	}
	udp := map[string]bool{} // by the rules; an ADD may have been killed before them
	for _, x := range v.claims() {
		udp[x.Key] = udp[x.Key] || x.Mapping.Proto == hostport.UDP
	}
	for _, key := range keys {
		rec, _ := store.Load(key)
		if rec != nil {
			closeAfterFlush(c, rec)
		}
		if udp[key] || rec == nil || hasUDP(rec.Attachment) {
			if err := dropUDP(v.attachment(key, rec), true, nil); err != nil {
				p.warn(told(err, CodeApply))
			}
		}
		if err := store.Delete(key); err != nil {
			p.warn(told(err, CodeApply)) // the rules are gone, and so will be the namespace
		}
	}
	if v.whole() {
		p.noteComplete(store, v)
	}
	return nil
}

// lookForDel reads where the record says, or else everywhere. A family the record
// does not name holds nothing of ours, unless an ADD was killed: it is looked at
// where that is possible.
func lookForDel(t *iptables.Tools, s *scout, rec *state.Record, store *state.Store) (*view, error) {
	switch {
	case rec == nil || rec.Moved || store.Unknown(): // others without a record may use the link
		return look(t, s, flavours(), nodeFamilies())
	case rec.Backend == netconf.NFTables:
		return look(t, s, nil, nil)
	case !slices.Contains(flavours(), iptables.Flavour(rec.Flavour)):
		return look(t, s, flavours(), nodeFamilies())
	}
	where := []iptables.Flavour{iptables.Flavour(rec.Flavour)}
	v, err := look(t, s, where, families(&rec.Attachment, nil))
	if err == nil {
		err = v.add(t, where, nodeFamilies())
	}
	if errors.Is(err, iptables.ErrNoTool) && len(v.places) > 0 {
		err = nil
	}
	return v, err
}

// assume fills in what a place must hold of ours where iptables cannot show it.
func (v *view) assume(rec *state.Record) error {
	for _, at := range v.places {
		err := v.dumps[at].Readable("nat")
		switch {
		case err == nil:
		case rec == nil:
			return fmt.Errorf("could not read the iptables-%s rules (%s): %w", at.flavour, at.family, err)
		default:
			names, err := v.scout.reader.Names(nft.Table{Family: at.family.NFProto(), Name: "nat"})
			if err != nil {
				return err
			}
			v.layouts[at] = ruleset.Assumed(rec.Attachment, at.family, names)
		}
	}
	return nil
}

// closeAfterFlush switches route_localnet off if the guard that remembered it
// was flushed and nobody else of ours needs it.
func closeAfterFlush(c change, rec *state.Record) {
	a := rec.Attachment
	if !a.Localhost || rec.LocalnetWas || c.inUse(a.Link) {
		return
	}
	if _, guarded := c.table.Guarded()[a.Link]; guarded {
		return
	}
	for _, at := range c.view.places {
		if _, guarded := c.want[at].Guarded()[a.Link]; guarded {
			return
		}
	}
	_ = host.SetRouteLocalnet(a.Link, false)
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
			a.Pods = append(a.Pods, podPrefix(pod))
		}
		a.Carves = append(a.Carves, l.Carves(key)...)
	}
	for _, c := range v.table.Claims() {
		if c.Key == key {
			a.Mappings = append(a.Mappings, c.Mapping)
		}
	}
	for _, pod := range v.table.Targets(key) {
		a.Pods = append(a.Pods, podPrefix(pod))
	}
	a.Carves = append(a.Carves, v.table.Carves(key)...)
	if rec == nil {
		return a
	}
	if len(a.Carves) == 0 {
		a.Carves = rec.Attachment.Carves
	}
	for _, f := range hostport.Families() { // gone, or with conditions
		if _, ok := a.Pod(f); !ok || len(a.Of(f)) == 0 {
			a.Mappings = append(slices.DeleteFunc(a.Mappings, func(m hostport.Mapping) bool { return m.Family == f }), rec.Attachment.Of(f)...)
			if pod, ok := rec.Attachment.Pod(f); ok {
				a.Pods = append(slices.DeleteFunc(a.Pods, func(p netip.Prefix) bool { return hostport.FamilyOf(p.Addr()) == f }), pod)
			}
		}
	}
	return a
}

// noteComplete marks the state directory if the look has shown that no rules are
// without a record.
func (p *Plugin) noteComplete(store *state.Store, v *view) {
	for _, c := range v.claims() {
		if !store.Has(c.Key) {
			return
		}
	}
	if err := store.MarkComplete(); err != nil {
		p.warn(told(err, CodeApply))
	}
}
