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
	"github.com/portguard/portguard/pkg/ruleset"
	"github.com/portguard/portguard/pkg/state"
)

// A finder asks who has ports on the node, for attachments that would go to its
// target.
type finder struct {
	*Plugin
	target
	store *state.Store
	view  *view
	on    *host.Addressing
	tools *iptables.Tools
	// from narrows the question.
	from conflict.From
}

func (p *Plugin) finder(to target, store *state.Store, v *view, on *host.Addressing, t *iptables.Tools) *finder {
	return &finder{Plugin: p, target: to, store: store, view: v, on: on, tools: t}
}

// errChanging means that somebody changes rules faster than they can be read.
var errChanging = errors.New("the nftables rules keep changing while they are read")

// maxLooks is how often rules are read again that changed meanwhile.
const maxLooks = 5

// find looks for conflicts of an attachment, in rules that were one generation.
func (d *finder) find(a hostport.Attachment) (r conflict.Report, err error) {
	once := func() error {
		r, err = d.findOnce(a)
		return err
	}
	err = d.steady(a.Mappings, once)
	return r, err
}

// steady calls f, which asks for mappings ms, until the rules did not change
// meanwhile.
func (d *finder) steady(ms []hostport.Mapping, f func() error) error {
	for range maxLooks {
		s := d.view.scout
		before := s.generation
		ferr := f()
		now, err := s.reader.Generation()
		switch {
		case ferr != nil && (err != nil || now == before):
			return fmt.Errorf("could not decide who has the port: %w", ferr)
		case err != nil:
			return err
		case now == before:
			return nil
		}
		d.view.renew(d.on, ms)
	}
	return errChanging
}

func (d *finder) findOnce(a hostport.Attachment) (r conflict.Report, err error) {
	snap, err := d.snapshot(a.Mappings)
	if err != nil {
		return r, err
	}
	if r, err = conflict.Find(a, snap, ruleset.IsOurs); err == nil && unclear(r) {
		// iptables may know what portguard could not decode, and says it better.
		var more bool
		if more, err = d.view.complete(d.tools); more && err == nil {
			snap.Rules, snap.Claims = d.view.rules(d.flavour), d.claimants(a.Mappings)
			var text conflict.Report
			text, err = conflict.Find(a, snap, ruleset.IsOurs)
			r = better(r, text)
		}
	}
	return r, err
}

// snapshot is what the node is like, as far as mappings ms are concerned.
func (d *finder) snapshot(ms []hostport.Mapping) (snap conflict.Snapshot, err error) {
	snap = conflict.Snapshot{Local: d.on.Local, Broadcasts: d.on.Broadcasts, Rules: d.view.rules(d.flavour), Claims: d.claimants(ms),
		NFT: d.view.scout.reader, Sets: host.Sets{}, Last: d.backend == netconf.NFTables, From: d.from}
	if snap.Native, err = foreignChains(d.view.scout.reader); err == nil {
		snap.Listeners, err = d.listeners(ms)
	}
	if err == nil {
		snap.EphemeralFrom, snap.EphemeralTo, err = host.EphemeralPorts()
	}
	return snap, err
}

func (d *finder) listeners(ms []hostport.Mapping) ([]hostport.Listener, error) {
	r := listener.New()
	r.Patience = d.Patience
	return r.Read(ms)
}

// unclear reports whether something was found that the text of the rules could
// tell more about.
func unclear(r conflict.Report) bool {
	return slices.ContainsFunc(append(slices.Clone(r.Conflicts), r.Warnings...), func(f conflict.Finding) bool {
		return slices.Contains([]conflict.Kind{conflict.NodePort, conflict.NATRule, conflict.Undecodable, conflict.Hidden, conflict.CatchAll}, f.Kind)
	})
}

// better chooses between what the rules say as nf_tables has them and as text, which
// says more. It cannot make a port free that a rule certainly takes.
func better(native, text conflict.Report) conflict.Report {
	taken := func(f conflict.Finding) bool { return f.Kind == conflict.NodePort || f.Kind == conflict.NATRule }
	if len(text.Conflicts) == 0 && slices.ContainsFunc(native.Conflicts, taken) {
		return native
	}
	return text
}

// claimants are the claims in place that overlap some of ms, completed with what
// their records tell: the pod's name, and whether the owner is dead. Without a
// record the comment tells the namespace. The others' records are not read.
func (d *finder) claimants(ms []hostport.Mapping) []hostport.Claim {
	claims := slices.DeleteFunc(d.view.claims(), func(c hostport.Claim) bool {
		return !slices.ContainsFunc(ms, c.Mapping.Overlaps)
	})
	boot, records := d.bootID(), map[string]*state.Record{}
	for i := range claims {
		c := &claims[i]
		rec, known := records[c.Key]
		if !known {
			rec, _ = d.store.Load(c.Key)
			records[c.Key] = rec
		}
		var a hostport.Attachment
		if rec != nil {
			a = rec.Attachment
			c.Owner, c.Part = a.Owner, len(a.Conditions(c.Mapping.Family)) > 0
		} else {
			a = d.view.attachment(c.Key, nil)
		}
		c.Dead = d.dead(c.Owner, rec, boot)
		c.Dst = a.Destinations(matched(d.on.Local, c.Backend), c.Mapping)
	}
	return claims
}

// matched are the local addresses as the rules of a backend match them: iptables
// spares those of infrastructure by sets and order, nftables those that its
// attachment knew.
func matched(local []hostport.Local, backend string) []hostport.Local {
	if backend != netconf.NFTables {
		return local
	}
	out := slices.Clone(local)
	for i := range out {
		out[i].Infrastructure = ""
	}
	return out
}

// dead reports whether the owner's network namespace is gone for certain.
func (p *Plugin) dead(o hostport.Owner, rec *state.Record, boot string) bool {
	if rec != nil {
		return !rec.Alive(boot)
	}
	return o.Netns != 0 && state.NetnsGone(p.Proc, o.Netns)
}
