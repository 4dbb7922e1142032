// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/explain"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/plugin"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/walk"
)

// Explain says who has a claim on the port of a question, and what an ADD with
// configuration c that asks for it would do now: by deciding it.
func (i *Inspector) Explain(c *netconf.Config, q explain.Question) (explain.Answer, error) {
	s, err := i.Plugin.Begin(state.Open(c.DataDir), c.LockTimeout, c.Template)
	if err != nil {
		return explain.Answer{}, err
	}
	s.PodLogs = c.PodLogsDir
	choice, err := s.Choose(place.Wish{Backend: c.Backend, Syntax: c.Syntax})
	if err == nil {
		err = s.Load(plugin.BackendOptions{CacheDir: c.CacheDir})
	}
	if err != nil {
		return explain.Answer{}, err
	}
	a := c.Template
	a.Mappings = i.asked(q)
	a.Networks = s.On.Networks
	r, err := i.sides(s, a, place.Order(choice.Backend))
	if err != nil {
		return explain.Answer{}, err
	}
	protected := conflict.Protected(a.Mappings, c.Protected, c.Name)
	r.All.Conflicts = append(protected, r.All.Conflicts...)
	own, loopback := i.reachable(s.On.Local)
	ans := explain.New(q, r, own, loopback)
	ans.Foreign = q.HostIP.IsValid() && !q.HostIP.IsUnspecified() && !slices.ContainsFunc(s.On.Local, func(l hostport.Local) bool { return l.Prefix.Contains(q.HostIP) })
	if d := &ans.Decision; c.WarnOnly && !d.Allowed && len(protected) == 0 {
		*d = explain.Decision{Allowed: true, Warnings: append(d.Refusals, d.Warnings...)}
	}
	return ans, nil
}

// asked are the mappings that a hostPort without further ado would be.
func (i *Inspector) asked(q explain.Question) []hostport.Mapping {
	m := hostport.Mapping{HostIP: q.HostIP, Proto: q.Proto, HostPort: q.Port}
	if q.HostIP.IsValid() {
		m.Family = hostport.FamilyOf(q.HostIP)
		if q.HostIP.IsUnspecified() { // all addresses of one family
			m.HostIP = netip.Addr{}
		}
		return []hostport.Mapping{m}
	}
	var out []hostport.Mapping
	for _, m.Family = range i.Node.Families() {
		out = append(out, m)
	}
	return out
}

// sides asks for all packets and for those of each side, in one reading of the node.
func (i *Inspector) sides(s *plugin.Session, a hostport.Attachment, order conflict.Place) (r explain.Reports, err error) {
	pods := podNetworks(s)
	bridges, err := i.Node.Bridges()
	if err != nil {
		return r, err
	}
	local := a
	local.Mappings = onLoopback(a.Mappings)
	err = s.Look(a.Mappings, order, func(snap conflict.Snapshot) error {
		r = explain.Reports{}
		for _, side := range []struct {
			from conflict.From
			a    hostport.Attachment
			into *conflict.Report
		}{
			{conflict.From{}, a, &r.All},
			{conflict.From{Hook: walk.Prerouting, Src: without(s.On, pods), NotIn: bridges}, a, &r.Outside},
			{conflict.From{Hook: walk.Output}, local, &r.Localhost},
			{conflict.From{Hook: walk.Prerouting, Src: pods}, a, &r.Pod},
		} {
			snap.From = side.from
			if *side.into, err = conflict.Find(side.a, snap); err != nil {
				return err
			}
		}
		return nil
	})
	return r, err
}

// onLoopback asks for 127.0.0.1 and ::1, which a wildcard mapping may leave alone.
func onLoopback(ms []hostport.Mapping) []hostport.Mapping {
	out := slices.Clone(ms)
	for i, m := range out {
		if m.Wildcard() {
			out[i].HostIP = m.Family.Loopback()
		}
	}
	return out
}

// podNetworks are those of the pods that have records, nil if there is none.
func podNetworks(s *plugin.Session) (out addrset.Set) {
	for _, a := range s.Recorded() {
		for _, pod := range a.Pods {
			out = out.Or(addrset.Of(pod))
		}
	}
	return out
}

// without is every source but those addresses and the node's own.
func without(on *host.Addressing, pods addrset.Set) addrset.Set {
	here := pods
	for _, l := range on.Local {
		here = here.Or(addrset.Of(l.Prefix))
	}
	return here.Only(true).Not(true).Or(here.Only(false).Not(false))
}

// reachable are the addresses of the node that others can send to, and its loopback
// ones. Of a local network only the first address is looked at.
func (i *Inspector) reachable(local []hostport.Local) (own, loopback []netip.Addr) {
	for _, f := range i.Node.Families() {
		loopback = append(loopback, f.Loopback())
	}
	for _, l := range local {
		a := l.Prefix.Addr()
		if l.Infrastructure == "" && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !slices.Contains(own, a) {
			own = append(own, a)
		}
	}
	return own, loopback
}
