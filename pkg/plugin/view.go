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
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nfttable"
	"github.com/portguard/portguard/pkg/ruleset"
)

// A place is one flavour and family of iptables.
type place struct {
	flavour iptables.Flavour
	family  hostport.Family
}

// A view is what was read of the places asked for, in a fixed order.
type view struct {
	// scout names the chains to read of big tables; nil reads all.
	scout *scout
	// part are the places of which not all was read, completed those of which the rest
	// was read later.
	part      map[place]bool
	completed []place
	places    []place
	dumps     map[place]*iptsave.Dump
	layouts   map[place]*ruleset.Layout
	// table is portguard's own of nftables.
	table *nfttable.Table
}

// look reads the rules of the given flavours and families.
func look(t *iptables.Tools, s *scout, flavours []iptables.Flavour, families []hostport.Family) (*view, error) {
	v := &view{scout: s, table: nfttable.Absent(), part: map[place]bool{}, dumps: map[place]*iptsave.Dump{}, layouts: map[place]*ruleset.Layout{}}
	return v, v.add(t, flavours, families)
}

// add reads what was not read yet. The tools run at the same time.
func (v *view) add(t *iptables.Tools, flavours []iptables.Flavour, families []hostport.Family) (err error) {
	var places []place
	var waits []func() (reading, error)
	for _, fl := range flavours {
		for _, f := range families {
			if at := (place{fl, f}); !slices.Contains(v.places, at) {
				places, waits = append(places, at), append(waits, v.scout.read(t, fl, f))
			}
		}
	}
	for i, wait := range waits {
		r, rerr := wait()
		if err == nil {
			err = rerr
		}
		if err != nil {
			continue
		}
		at := places[i]
		v.places = append(v.places, at)
		v.part[at], v.dumps[at], v.layouts[at] = r.part, r.dump, r.layout
	}
	return err
}

// complete reads the rest of what was read in part, and reports whether that was
// anything.
func (v *view) complete(t *iptables.Tools) (more bool, err error) {
	for _, at := range v.places {
		if !v.part[at] {
			continue
		}
		d, err := t.Save(at.flavour, at.family)
		if errors.Is(err, iptables.ErrNoTool) {
			continue // it was decided without it
		}
		if err != nil {
			return true, err
		}
		v.part[at], more = false, true
		v.completed = append(v.completed, at)
		v.dumps[at], v.layouts[at] = d, ruleset.FromDump(d, at.family)
	}
	return more, nil
}

// widen forgets where only a part of portguard's chains was read, so that add reads
// all of them.
func (v *view) widen() {
	v.scout.asked = nil
	v.places = slices.DeleteFunc(v.places, func(at place) bool { return v.layouts[at].Part() })
}

// renew begins another look. What was completed for the last one is of the last one's
// generation; and rules of which the text is known are not walked as nf_tables has
// them, although the text may leave out what makes them miss.
func (v *view) renew(on *host.Addressing, ms []hostport.Mapping) {
	v.scout.renew(on, ms)
	for _, at := range v.completed {
		v.part[at] = true
	}
	v.completed = nil
}

// whole reports whether all that portguard has on the node was read.
func (v *view) whole() bool {
	part := func(at place) bool { return v.layouts[at].Part() }
	return v.table.Whole && len(v.places) == len(flavours())*len(nodeFamilies()) && !slices.ContainsFunc(v.places, part)
}

// readTable reads portguard's own table: all of it, or what an ADD of a needs.
func (v *view) readTable(a *hostport.Attachment) (err error) {
	if a == nil {
		v.table, err = nfttable.Read(v.scout.reader)
	} else {
		v.table, err = nfttable.Probe(v.scout.reader, *a)
	}
	return err
}

// readable fails if a table that must be known as text could not be shown: in
// the flavour to install in nat and that of the guard, and filter where
// kube-proxy rejects. Others are read over netlink.
func (v *view) readable(target iptables.Flavour, localhost bool) error {
	for _, at := range v.places {
		d := v.dumps[at]
		var tables []string
		if at.flavour == target {
			tables = append(tables, "nat")
			if localhost && at.family == hostport.IPv4 {
				tables = append(tables, "mangle")
			}
		}
		if jumpsTo(d.Table("nat"), "KUBE-SERVICES") {
			tables = append(tables, "filter")
		}
		for _, name := range tables {
			if err := d.Readable(name); err != nil {
				return fmt.Errorf("could not read the iptables-%s rules (%s): %w", at.flavour, at.family, err)
			}
		}
	}
	return nil
}

// errTwoProxies: the flavours' nat chains run one after the other, so there is
// no place behind both.
var errTwoProxies = errors.New("both iptables-legacy and iptables-nft hold kube-proxy rules, so there is no place behind both; " +
	"flush those of the flavour that kube-proxy no longer uses")

// target chooses the flavour to install in: that of kube-proxy, or of the
// kubelet's hint (KUBE-IPTABLES-HINT, pkg/kubelet/kubelet_network_linux.go), or
// that of plain iptables.
func (v *view) target(t *iptables.Tools) (iptables.Flavour, error) {
	var proxy, hint []iptables.Flavour
	for _, at := range v.places {
		if jumpsTo(v.dumps[at].Table("nat"), "KUBE-SERVICES") && !slices.Contains(proxy, at.flavour) {
			proxy = append(proxy, at.flavour)
		}
		if v.dumps[at].Table("mangle").Chain("KUBE-IPTABLES-HINT") != nil && !slices.Contains(hint, at.flavour) {
			hint = append(hint, at.flavour)
		}
	}
	switch {
	case len(proxy) > 1:
		return "", errTwoProxies
	case len(proxy) == 1:
		return proxy[0], nil
	case len(hint) == 1:
		return hint[0], nil
	}
	return t.Default()
}

// jumpsTo reports whether a base chain where destinations are translated jumps
// to the named chain. One that nothing reaches is a leftover of another mode.
func jumpsTo(t *iptsave.Table, name string) bool {
	for _, base := range []string{"PREROUTING", "OUTPUT"} {
		c := t.Chain(base)
		if c == nil {
			continue
		}
		for _, r := range c.Rules {
			if r.Spec().Target == name {
				return true
			}
		}
	}
	return false
}

// guarded tells what route_localnet of a link was before the guard that is there.
func (v *view) guarded(link string) (was, ok bool) {
	if was, ok = v.table.Guarded()[link]; ok {
		return was, true
	}
	for _, at := range v.places {
		if was, ok = v.layouts[at].Guarded()[link]; ok {
			return was, true
		}
	}
	return false, false
}

// claims are all mappings of ours that are in place.
func (v *view) claims() []hostport.Claim {
	var out []hostport.Claim
	for _, at := range v.places {
		for _, c := range v.layouts[at].Claims() {
			c.Backend, c.Flavour, c.Priority = netconf.IPTables, string(at.flavour), conflict.PrioIptables
			out = append(out, c)
		}
	}
	for _, c := range v.table.Claims() {
		c.Backend, c.Priority = netconf.NFTables, nfttable.Priority
		out = append(out, c)
	}
	return out
}

// rules is the view as package conflict wants it.
func (v *view) rules(target iptables.Flavour) []conflict.Rules {
	var out []conflict.Rules
	for _, at := range v.places {
		out = append(out, conflict.Rules{
			Flavour: string(at.flavour), Family: at.family, Dump: v.dumps[at], Target: at.flavour == target, Part: v.part[at],
		})
	}
	return out
}

func flavours() []iptables.Flavour {
	all := iptables.Flavours()
	return all[:]
}
