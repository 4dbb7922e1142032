// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/way"
)

// List lists the hostPorts of the node: portguard's, with those whose rules are missing,
// and those of other plugins.
func (i *Inspector) List(c *netconf.Config) (inventory.List, error) {
	v, err := i.look(c)
	if err != nil {
		return inventory.List{}, err
	}
	return v.list()
}

func (v *view) list() (inventory.List, error) {
	verdicts, err := v.judge()
	if err != nil {
		return inventory.List{}, err
	}
	out := inventory.List{HostPorts: []inventory.Entry{}}
	for i, c := range v.claims {
		if !c.Foreign {
			out.HostPorts = append(out.HostPorts, v.entry(c, verdicts[i]))
		}
	}
	for key := range v.attachments {
		out.HostPorts = append(out.HostPorts, v.missing(key)...)
		out.HostPorts = append(out.HostPorts, v.waiting(key)...)
	}
	others, err := v.foreign()
	if err != nil {
		return inventory.List{}, err
	}
	out.HostPorts = append(out.HostPorts, others...)
	inventory.Sort(out.HostPorts)
	out.Notes = v.notes
	out.Reservation = reservation(v.Session)
	out.RefusedBinds = v.refusals(v.Session, func(hostport.Refusal) bool { return true })
	return out, nil
}

// foreign describes the mappings of other plugins. These look at nothing, so a listener
// may have lost its port.
func (v *view) foreign() (out []inventory.Entry, err error) {
	claims := slices.DeleteFunc(slices.Clone(v.claims), func(c hostport.Claim) bool { return !c.Foreign })
	if len(claims) == 0 {
		return nil, nil
	}
	var ms []hostport.Mapping
	for _, c := range claims {
		ms = append(ms, c.Mapping)
	}
	err = v.Look(ms, conflict.Place{}, func(snap conflict.Snapshot) error {
		out = nil
		beside := conflict.NewFinder(conflict.Snapshot{Local: snap.Local, Broadcasts: snap.Broadcasts, Listeners: snap.Listeners, Servers: snap.Servers})
		for _, c := range claims {
			e := inventory.New(c.Backend, c)
			e.Backend, _, _ = strings.Cut(c.Where, " table ") // who made it, and with what
			a, _ := v.Recover(c.Key)
			a.Mappings, a.Localhost = []hostport.Mapping{c.Mapping}, true
			r, err := beside.Find(a)
			if err != nil {
				return err
			}
			if len(r.Conflicts) > 0 {
				e.State, e.Reason, e.Remedy = inventory.Shadowed, shadow(r.Conflicts[0], false), remedy(r.Conflicts[0])
			}
			e.Owned(c.Life, c.Unsure)
			out = append(out, e)
		}
		return nil
	})
	return out, err
}

// entry describes a mapping that is in place.
func (v *view) entry(c hostport.Claim, verdict verdict) inventory.Entry {
	a := v.attachments[c.Key]
	c.Owner = cmp.Or(a.Owner, c.Owner)
	e := inventory.New("portguard", c)
	rec := v.Record(c.Key)
	if rec != nil {
		e.Created = rec.Created
	}
	e.Reserved = reserved(v.Session, c.Mapping, c.Key)
	e.Ways = verdict.ways
	switch shut := way.Shut(e.Ways); {
	case verdict.other != nil && verdict.other.LevelWith(c):
		e.State, e.Reason = inventory.Shadowed, verdict.other.Who+" may take its traffic: nobody can tell which of the two is asked first"
	case verdict.some:
		e.State, e.Reason = inventory.Shadowed, strings.TrimSuffix(fmt.Sprintf("%s takes some of its traffic, or may: %s", verdict.other.Who, verdict.other.Where), ": ")
	case verdict.other != nil:
		e.State, e.Reason = inventory.Shadowed, shadow(*verdict.other, verdict.takes)
	case !c.Mapping.Wildcard() && !here(c.Mapping.HostIP, v.Session):
		e.State, e.Reason = inventory.Absent, fmt.Sprintf("%s is none of the node's", c.Mapping.HostIP)
	case shut != nil:
		e.State, e.Reason = inventory.Closed, shut.String()
	}
	if verdict.other != nil {
		e.Remedy = remedy(*verdict.other)
	}
	if lost := v.lacks(c.Key, c.Mapping); len(lost) > 0 {
		e.State, e.Reason = inventory.Missing, lost[0]
	}
	if !c.Target.IsValid() && rec != nil { // one with conditions
		e.Target = targetIn(a, c.Mapping)
	}
	e.Owned(v.life[c.Key], v.unsure[c.Key])
	return e
}

// remedy is what to do about who has the port too.
func remedy(f conflict.Finding) string { return cmp.Or(f.Remedy, f.Kind.Remedy()) }

// shadow says who has the port too, and who gets the packets.
func shadow(f conflict.Finding, takes bool) string {
	switch {
	case f.Kind == finding.Listener && !takes:
		return fmt.Sprintf("%s listens on %s and gets nothing: the mapping is asked first", f.Who, f.Where)
	case f.Kind == finding.Listener:
		return fmt.Sprintf("%s listens on %s and takes its traffic", f.Who, f.Where)
	case f.Kind == finding.Hidden:
		return "a rule ends the way of its packets: " + f.Where
	case f.Kind == finding.Undecodable:
		return "a rule that cannot be decoded may take its traffic: " + f.Where
	case !takes && f.Kind != finding.PolicyRoute:
		return strings.TrimSuffix(f.Who+" gets nothing: the mapping is asked first: "+f.Where, ": ")
	case f.Kind == finding.NodePort:
		return f.Who + " takes its traffic"
	}
	return strings.TrimSuffix(f.Who+" takes its traffic: "+f.Where, ": ")
}

// missing are the mappings of a record that are not in place. The backend says what is
// missing, and says nothing where it could not read.
func (v *view) missing(key hostport.Key) []inventory.Entry {
	rec := v.Record(key)
	if rec == nil || len(v.lost[key]) == 0 {
		return nil
	}
	var out []inventory.Entry
	for _, m := range rec.Attachment.Mappings {
		if slices.ContainsFunc(v.claims, func(c hostport.Claim) bool { return c.Key == key && c.Mapping.SameKey(m) }) {
			continue
		}
		e := inventory.New("portguard", rec.Claim(m))
		e.Created = rec.Created
		e.State, e.Reason, e.Reserved = inventory.Missing, "its rules are gone", reserved(v.Session, m, key)
		if e.Owned(v.life[key], v.unsure[key]); v.life[key] != hostport.Alive {
			e.Reason += "; its rules are gone too"
		}
		out = append(out, e)
	}
	return out
}

// waiting are the mappings that an attachment has left to others.
func (v *view) waiting(key hostport.Key) []inventory.Entry {
	rec := v.Record(key)
	if rec == nil || v.life[key] == hostport.Dead {
		return nil
	}
	var out []inventory.Entry
	for _, m := range rec.Left {
		e := inventory.New("portguard", rec.Claim(m))
		e.Created, e.State, e.Reason = rec.Created, inventory.Missing, "nobody has the port any more"
		for other, a := range v.attachments {
			if has := a.Mappings; other != key && v.life[other] != hostport.Dead && slices.ContainsFunc(has, m.Overlaps) {
				e.State, e.Reason = inventory.Waiting, fmt.Sprintf("%s (network %s, %s) has the port", cmp.Or(a.Owner.Pod(), a.Owner.ContainerID), a.Owner.Network, a.Owner.IfName)
			}
		}
		out = append(out, e)
	}
	return out
}

// targetIn is where a record says that m leads, the zero AddrPort if the pod has no address
// of its family.
func targetIn(a hostport.Attachment, m hostport.Mapping) netip.AddrPort {
	for _, o := range a.Mappings {
		if o.SameKey(m) {
			m = o
			break
		}
	}
	return a.Target(m)
}
