// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/portmap"
	"github.com/portguard/portguard/pkg/ruleset"
)

// List lists the hostPorts of the node: portguard's, with those whose rules are
// missing, and portmap's. Nothing changes.
func (p *Plugin) List(dataDir, cacheDir string) (inventory.List, error) {
	i, err := p.inspect(dataDir)
	if err != nil {
		return inventory.List{}, err
	}
	return i.list(cacheDir)
}

func (i *inspection) list(cacheDir string) (inventory.List, error) {
	contested, err := i.contested()
	if err != nil {
		return inventory.List{}, err
	}
	out := inventory.List{HostPorts: []inventory.Entry{}}
	for _, c := range i.claims {
		out.HostPorts = append(out.HostPorts, i.entry(c, contested[c.Key]))
	}
	for key := range i.records {
		out.HostPorts = append(out.HostPorts, i.missing(key)...)
	}
	old, err := i.portmapEntries(cacheDir)
	if err != nil {
		return inventory.List{}, err
	}
	out.HostPorts = append(out.HostPorts, old...)
	inventory.Sort(out.HostPorts)
	out.Notes = append(i.notes, i.damaged...)
	return out, nil
}

// portmapEntries describes portmap's mappings. Portmap looks at nothing, so a listener
// may have lost its port.
func (i *inspection) portmapEntries(cacheDir string) ([]inventory.Entry, error) {
	claims := i.ofPortmap()
	var ms []hostport.Mapping
	for _, c := range claims {
		ms = append(ms, c.Mapping)
	}
	ls, err := i.listeners(ms)
	if err != nil {
		return nil, err
	}
	beside := conflict.NewFinder(conflict.Snapshot{Local: i.on.Local, Broadcasts: i.on.Broadcasts, Listeners: ls}, ruleset.IsOurs)
	var out []inventory.Entry
	for _, c := range claims {
		e := inventory.New("portmap", portmap.Pod(cacheDir, c.Owner), c.Mapping)
		e.Backend, e.Target = backendName(c), c.Target
		e.Count(c.Packets)
		r, err := beside.Find(hostport.Attachment{Mappings: []hostport.Mapping{c.Mapping}, Localhost: true})
		if err != nil {
			return nil, err
		}
		if len(r.Conflicts) > 0 {
			e.State, e.Reason = inventory.Shadowed, shadow(r.Conflicts[0])
		}
		if portmap.Dead(cacheDir, c.Owner) {
			e.State, e.Reason = inventory.Dead, "its network namespace is gone"
		}
		out = append(out, e)
	}
	return out, nil
}

// entry describes a mapping that is in place.
func (i *inspection) entry(c hostport.Claim, contested []conflict.Finding) inventory.Entry {
	a := i.attachments[c.Key]
	e := inventory.New("portguard", cmp.Or(a.Owner, c.Owner), c.Mapping)
	e.Backend, e.Target = backendName(c), c.Target
	e.Count(c.Packets)
	rec := i.records[c.Key]
	if rec != nil {
		e.Created = rec.Created
	}
	for _, f := range contested {
		if f.Mapping.SameKey(c.Mapping) {
			e.State, e.Reason = inventory.Shadowed, shadow(f)
			break
		}
	}
	if lost, err := i.lacks(c.Key, c.Mapping); err != nil {
		i.note(err)
	} else if rec != nil && len(lost) > 0 {
		e.State, e.Reason = inventory.Missing, lost[0]
	}
	if !c.Target.IsValid() && rec != nil { // one with conditions
		if pod, ok := a.Pod(c.Mapping.Family); ok {
			e.Target = targetIn(a, c.Mapping, pod.Addr())
		}
	}
	if i.gone(c.Key) {
		e.State, e.Reason = inventory.Dead, "its network namespace is gone"
	}
	return e
}

// shadow says who has the port too, and who gets the packets.
func shadow(f conflict.Finding) string {
	switch f.Kind {
	case conflict.Listener:
		return fmt.Sprintf("%s listens on %s and gets nothing: the mapping is asked first", f.Who, f.Where)
	case conflict.Hidden:
		return "a rule ends the walk before it: " + f.Where
	case conflict.Undecodable:
		return "a rule that cannot be decoded may take its traffic: " + f.Where
	case conflict.NodePort:
		return f.Who + " takes its traffic"
	case conflict.Claimed, conflict.NATRule, conflict.ServiceIP, conflict.Ephemeral, conflict.CatchAll:
	}
	return strings.TrimSuffix(f.Who+" takes its traffic: "+f.Where, ": ")
}

// missing are the mappings of a record that are not in place.
func (i *inspection) missing(key string) []inventory.Entry {
	rec := i.records[key]
	var out []inventory.Entry
	for _, m := range rec.Attachment.Mappings {
		if i.inPlace(key, m) {
			continue
		}
		e := inventory.New("portguard", rec.Attachment.Owner, m)
		e.Backend, e.Created = rec.Backend, rec.Created
		if rec.Backend == netconf.IPTables {
			e.Backend = "iptables-" + rec.Flavour
		}
		if pod, ok := rec.Attachment.Pod(m.Family); ok {
			e.Target = targetIn(rec.Attachment, m, pod.Addr())
		}
		e.State, e.Reason = inventory.Missing, "its rules are gone"
		if i.gone(key) {
			e.State, e.Reason = inventory.Dead, "its network namespace is gone, and its rules are"
		}
		out = append(out, e)
	}
	return out
}

func (i *inspection) inPlace(key string, m hostport.Mapping) bool {
	for _, c := range i.claims {
		if c.Key == key && c.Mapping.SameKey(m) {
			return true
		}
	}
	return false
}

// targetIn is where a record says that m leads.
func targetIn(a hostport.Attachment, m hostport.Mapping, pod netip.Addr) netip.AddrPort {
	for _, o := range a.Mappings {
		if o.SameKey(m) {
			return netip.AddrPortFrom(pod, o.ContainerPort)
		}
	}
	return netip.AddrPortFrom(pod, m.ContainerPort)
}

// ofPortmap are portmap's mappings, of both its backends.
func (i *inspection) ofPortmap() []hostport.Claim {
	var out []hostport.Claim
	for _, at := range i.view.places {
		for _, c := range portmap.Claims(i.view.dumps[at], at.family) {
			c.Backend, c.Flavour = netconf.IPTables, string(at.flavour)
			out = append(out, c)
		}
	}
	for _, t := range portmap.Tables() {
		rules, err := nftconn.NewReader().AllRules(t)
		if err != nil {
			i.note(err)
			continue
		}
		for _, c := range portmap.NativeClaims(t, rules) {
			c.Backend = netconf.NFTables
			out = append(out, c)
		}
	}
	return out
}

func backendName(c hostport.Claim) string {
	if c.Backend == netconf.IPTables {
		return netconf.IPTables + "-" + c.Flavour
	}
	return c.Backend
}
