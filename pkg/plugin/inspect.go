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
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nfttable"
	"github.com/portguard/portguard/pkg/portmap"
	"github.com/portguard/portguard/pkg/ruleset"
	"github.com/portguard/portguard/pkg/state"
)

// An inspection is the whole node as somebody who asks sees it: nothing is locked
// and nothing changes. What cannot be read is noted, and the rest is shown.
type inspection struct {
	*finder
	records map[string]*state.Record
	// attachments are all that have rules or a record, by key.
	attachments map[string]hostport.Attachment
	claims      []hostport.Claim
	// departed are the owners that are gone, lost is what attachments lack as a whole.
	departed map[string]bool
	lost     map[string][]string
	// notes say what could not be read: of the rules, and of the records.
	notes, damaged []string
}

// progress tells a person what takes so long.
func (p *Plugin) progress(format string, args ...any) {
	if p.Progress != nil {
		p.Progress(fmt.Sprintf(format, args...))
	}
}

func (p *Plugin) inspect(dataDir string) (*inspection, error) {
	on, err := host.Addresses()
	if err != nil {
		return nil, err
	}
	t := p.tools(netconf.DefaultLockTimeout)
	t.Counters = true
	s := &scout{all: true}
	s.renew(on, nil)
	v, _ := look(t, s, nil, nil)
	i := &inspection{finder: p.finder(target{}, state.Open(dataDir), v, on, t), records: map[string]*state.Record{}, attachments: map[string]hostport.Attachment{}, departed: map[string]bool{}, lost: map[string][]string{}}
	for _, f := range nodeFamilies() {
		for _, fl := range flavours() {
			p.progress("reading the rules of iptables-%s (%s)", fl, f)
			i.read(fl, f)
		}
	}
	if err := v.readTable(nil); err != nil {
		i.note(err)
		v.table = nfttable.Absent()
	}
	i.load()
	return i, nil
}

// read reads one place. Without the tools of iptables-nft the rules are read over
// netlink, which is enough unless mappings are among them.
func (i *inspection) read(fl iptables.Flavour, f hostport.Family) {
	err := i.view.add(i.tools, []iptables.Flavour{fl}, []hostport.Family{f})
	if err == nil {
		return
	}
	if fl == iptables.NFT && errors.Is(err, iptables.ErrNoTool) {
		names, nerr := i.view.scout.reader.Names(nft.Table{Family: f.NFProto(), Name: "nat"})
		if nerr == nil && !slices.ContainsFunc(names, func(c string) bool { return ruleset.IsOurs(c) || c == portmap.Entry }) {
			at := place{fl, f}
			i.view.places, i.view.part[at] = append(i.view.places, at), true
			i.view.layouts[at] = ruleset.FromDump(nil, f)
			return
		}
	}
	i.note(err)
}

func (i *inspection) note(err error) { i.notes = append(i.notes, err.Error()) }

// load reads the records and rebuilds the attachments that have none.
func (i *inspection) load() {
	keys := i.store.Keys()
	slices.Sort(keys)
	for _, key := range keys {
		rec, err := i.store.Load(key)
		if err != nil {
			i.damaged = append(i.damaged, err.Error())
			continue
		}
		i.records[key], i.attachments[key] = rec, rec.Attachment
	}
	i.claims = i.view.claims()
	for _, c := range i.claims {
		if _, known := i.attachments[c.Key]; !known && c.Key != "" {
			a := i.view.attachment(c.Key, nil)
			a.Owner = c.Owner
			i.attachments[c.Key] = a
		}
	}
	boot := i.bootID()
	for key, a := range i.attachments {
		i.departed[key] = i.dead(a.Owner, i.records[key], boot)
		if rec := i.records[key]; rec != nil && rec.Backend == netconf.NFTables {
			i.lost[key] = i.view.table.Check(a)
		}
	}
}

// gone reports whether the owner of an attachment is dead.
func (i *inspection) gone(key string) bool { return i.departed[key] }

// lacks lists what is lost of one mapping of an attachment that has a record. A jump
// in the wrong place is no loss: doctor tells it.
func (i *inspection) lacks(key string, m hostport.Mapping) ([]string, error) {
	rec := i.records[key]
	if rec == nil {
		return nil, nil
	}
	if rec.Backend == netconf.NFTables {
		a := rec.Attachment
		a.Mappings = slices.DeleteFunc(slices.Clone(a.Mappings), func(o hostport.Mapping) bool { return !o.Overlaps(m) })
		// What a mapping alone would need, others of the pod may give.
		return slices.DeleteFunc(i.view.table.Check(a), func(s string) bool { return !slices.Contains(i.lost[key], s) }), nil
	}
	var lost []string
	for _, at := range i.view.places {
		if string(at.flavour) != rec.Flavour || at.family != m.Family {
			continue
		}
		sets, err := serviceSets(i.on, at.family)
		if err != nil {
			return nil, err
		}
		lost = append(lost, i.view.layouts[at].Lost(rec.Attachment, sets)...)
	}
	return lost, nil
}

// contested finds, for each live attachment that is in place, what an ADD of it
// would be refused for now.
func (i *inspection) contested() (map[string][]conflict.Finding, error) {
	var ms []hostport.Mapping
	for _, a := range i.attachments {
		ms = append(ms, a.Mappings...)
	}
	i.view.renew(i.on, ms)
	out := map[string][]conflict.Finding{}
	err := i.steady(ms, func() error {
		clear(out)
		return i.contestedOnce(ms, out)
	})
	return out, err
}

func (i *inspection) contestedOnce(ms []hostport.Mapping, out map[string][]conflict.Finding) error {
	finders := map[target]*conflict.Finder{}
	for key, a := range i.attachments {
		if i.gone(key) {
			continue
		}
		i.progress("asking who else has the ports of %s", a.Owner)
		to := i.targetOf(key)
		if finders[to] == nil {
			i.target = to
			snap, err := i.snapshot(ms)
			if err != nil {
				return err
			}
			snap.Claims = nil // the kernel has one owner for each key
			finders[to] = conflict.NewFinder(snap, ruleset.IsOurs)
		}
		r, err := finders[to].Find(a)
		if err != nil {
			return err
		}
		out[key] = r.Conflicts
	}
	return nil
}

// targetOf is where the mappings of an attachment are.
func (i *inspection) targetOf(key string) target {
	if rec := i.records[key]; rec != nil {
		return target{rec.Backend, iptables.Flavour(rec.Flavour)}
	}
	for _, c := range i.claims {
		if c.Key == key {
			return target{c.Backend, iptables.Flavour(c.Flavour)}
		}
	}
	return target{}
}
