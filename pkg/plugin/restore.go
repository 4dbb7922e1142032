// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/ruleset"
	"github.com/portguard/portguard/pkg/state"
)

// A Restored is what became of one attachment.
type Restored struct {
	Owner hostport.Owner
	// Put is set if its rules were put back, otherwise nothing was missing.
	Put bool
	// Refused is why they were not.
	Refused string
}

// Restore puts the rules of every live attachment back, as its ADD made them, in
// one transaction a rule set, after somebody flushed them. One whose port was
// taken meanwhile is refused by name. Only what has a record can be restored.
func (p *Plugin) Restore(dataDir string, lockTimeout time.Duration) ([]Restored, error) {
	store := state.Open(dataDir)
	unlock, err := store.Lock(lockTimeout)
	if err != nil {
		return nil, err
	}
	defer unlock()
	recs := p.alive(store)
	on, err := host.Addresses()
	if err != nil || len(recs) == 0 {
		return nil, err
	}
	t := p.tools(lockTimeout)
	native := !slices.ContainsFunc(recs, func(r *state.Record) bool { return r.Backend == netconf.IPTables })
	s := &scout{all: on.IPVS, ours: native}
	s.renew(on, nil)
	v, err := look(t, s, flavours(), nodeFamilies())
	if err == nil {
		err = v.readTable(nil)
	}
	if err != nil {
		return nil, err
	}
	c := change{view: v, want: map[place]*ruleset.Layout{}, table: v.table, inUse: linksInUse(store)}
	for _, at := range v.places {
		c.want[at] = v.layouts[at]
	}
	var out []Restored
	for _, rec := range recs {
		r, err := p.putBack(&c, rec, store, on, t)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Owner.String() < out[j].Owner.String() })
	moved, err := p.outOfNftables(&c, store, on, t)
	if err != nil {
		return nil, err
	}
	if err := c.apply(t); err != nil {
		return nil, err
	}
	p.noteMoved(moved, out, store)
	return out, nil
}

// noteMoved keeps where attachments are now.
func (p *Plugin) noteMoved(moved []state.Record, out []Restored, store *state.Store) {
	for _, r := range moved {
		if err := store.Save(r); err != nil {
			p.warn(err.Error())
		}
		if i := slices.IndexFunc(out, func(o Restored) bool { return o.Owner.Same(r.Attachment.Owner) }); i >= 0 {
			out[i].Put = true
		}
	}
}

// outOfNftables moves what was added before kube-proxy changed to ipvs mode.
func (p *Plugin) outOfNftables(c *change, store *state.Store, on *host.Addressing, t *iptables.Tools) ([]state.Record, error) {
	if !on.IPVS || len(c.table.Keys()) == 0 {
		return nil, nil
	}
	fl, err := c.view.target(t)
	if err != nil {
		return nil, err
	}
	d := &decision{target: target{netconf.IPTables, fl}, ipvs: true, node: map[hostport.Family]ruleset.Node{}}
	for _, f := range nodeFamilies() {
		sets, err := serviceSets(on, f)
		if err != nil {
			return nil, err
		}
		d.node[f] = ruleset.Node{Sets: sets}
	}
	return p.leaveNftables(c, d, store), nil
}

// alive are the records of attachments whose network namespace is there, in a
// fixed order.
func (p *Plugin) alive(store *state.Store) []*state.Record {
	var out []*state.Record
	boot := p.bootID()
	keys := store.Keys()
	slices.Sort(keys)
	for _, key := range keys {
		rec, err := store.Load(key)
		switch {
		case err != nil:
			p.warn(err.Error())
		case rec.Alive(boot) && len(rec.Attachment.Mappings) > 0:
			out = append(out, rec)
		}
	}
	return out
}

// putBack adds what an attachment lacks to the change.
func (p *Plugin) putBack(c *change, rec *state.Record, store *state.Store, on *host.Addressing, t *iptables.Tools) (Restored, error) {
	a := rec.Attachment
	r := Restored{Owner: a.Owner}
	lost, sets, err := c.lost(rec, on)
	if err != nil || !lost {
		return r, err
	}
	c.view.renew(on, a.Mappings)
	report, err := p.finder(target{rec.Backend, iptables.Flavour(rec.Flavour)}, store, c.view, on, t).find(a)
	if err != nil {
		return r, err
	}
	if len(report.Conflicts) > 0 {
		r.Refused = report.Conflicts[0].Message
		return r, nil
	}
	r.Put = true
	if a.Localhost {
		c.open = append(c.open, a.Link)
	}
	if rec.Backend == netconf.NFTables {
		c.table = c.table.Put(a, rec.LocalnetWas, report.TakeOver...)
		return r, nil
	}
	for _, at := range c.view.places {
		if string(at.flavour) == rec.Flavour {
			n := ruleset.Node{Sets: sets[at.family], RouteLocalnet: map[string]bool{a.Link: rec.LocalnetWas}}
			c.want[at] = c.want[at].Put(a, n, report.TakeOver...)
		}
	}
	return r, nil
}

// lost reports whether anything of an attachment is missing.
func (c *change) lost(rec *state.Record, on *host.Addressing) (bool, map[hostport.Family][]ruleset.Set, error) {
	sets := map[hostport.Family][]ruleset.Set{}
	if rec.Backend == netconf.NFTables {
		return len(c.view.table.Check(rec.Attachment)) > 0, sets, nil
	}
	lost := false
	for _, at := range c.view.places {
		if string(at.flavour) != rec.Flavour {
			continue
		}
		var err error
		if sets[at.family], err = serviceSets(on, at.family); err != nil {
			return false, nil, err
		}
		lost = lost || len(c.view.layouts[at].Check(rec.Attachment, sets[at.family])) > 0
	}
	return lost, sets, nil
}

// String says what became of it.
func (r Restored) String() string {
	switch {
	case r.Refused != "":
		return fmt.Sprintf("refused %s: %s", r.Owner, r.Refused)
	case r.Put:
		return fmt.Sprintf("restored %s", r.Owner)
	}
	return fmt.Sprintf("ok %s", r.Owner)
}
