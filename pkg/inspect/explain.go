// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/explain"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/plugin"
	"github.com/portguard/portguard/pkg/state"
)

// Explain says who has a claim on the port of a question, and what an ADD with
// configuration c that asks for it would do now: by deciding it.
func (i *Inspector) Explain(c *netconf.Config, q explain.Question) (explain.Answer, error) {
	s, choice, err := i.begin(c)
	if err != nil {
		return explain.Answer{}, err
	}
	a := c.Template
	if a.Reserve != hostport.ReserveOff && i.Node.Holds() == nil {
		i.Node.AskBound(q.Port)
	}
	a.Mappings = i.asked(q)
	a.Networks = hostport.Cover(s.On.Networks)
	var ans explain.Answer
	var protected []conflict.Finding
	order := place.Order(choice.Backend)
	err = i.survey(s, a.Mappings, true, func(sv *survey) (err error) {
		sv.snap.Place = order
		report, err := conflict.Find(a, sv.snap)
		if err != nil {
			return err
		}
		var w explain.Ways
		own, loopback := sv.asked(q)
		if !foreign(q, s) {
			w, err = sv.all(a, order, own, loopback)
		}
		protected = conflict.Protected(a.Mappings, c.Protected, c.Name)
		report.Conflicts = append(slices.Clone(protected), report.Conflicts...)
		ans = explain.New(q, report, w)
		ans.Foreign = foreign(q, s)
		if q.HostIP.IsMulticast() || slices.Contains(s.On.Broadcasts, q.HostIP) {
			ans.OfGroup(report)
		}
		return err
	})
	if err != nil {
		return explain.Answer{}, err
	}
	ans.RefusedBinds = i.refusals(s, func(r hostport.Refusal) bool { return r.Proto == q.Proto && r.Port == q.Port })
	if d := &ans.Decision; c.WarnOnly && !d.Allowed && len(protected) == 0 {
		*d = explain.Decision{Allowed: true, Warnings: append(d.Refusals, d.Warnings...)}
	}
	if specific(q) {
		if what := plugin.Unfit(c, s.On, q.HostIP); what != "" {
			ans.Unfit(what)
		}
	}
	return ans, nil
}

// begin is a session that has loaded all backends, and the one where c's mappings would be.
func (i *Inspector) begin(c *netconf.Config) (s *plugin.Session, choice place.Choice, err error) {
	if s, err = i.Plugin.Begin(state.Open(c.DataDir), c.LockTimeout, c.Template); err != nil {
		return nil, choice, err
	}
	s.PodLogs = c.PodLogsDir
	if choice, err = s.Choose(place.Wish{Backend: c.Backend, Syntax: c.Syntax}); err != nil {
		return nil, choice, err
	}
	return s, choice, s.Load(plugin.BackendOptions{CacheDir: c.CacheDir})
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

// specific reports whether a question is about one address.
func specific(q explain.Question) bool { return q.HostIP.IsValid() && !q.HostIP.IsUnspecified() }

// foreign reports whether the address of a question is none of the node's.
func foreign(q explain.Question, s *plugin.Session) bool { return specific(q) && !here(q.HostIP, s) }

// here reports whether the node answers for an address.
func here(a netip.Addr, s *plugin.Session) bool {
	return slices.ContainsFunc(s.On.Local, func(l hostport.Local) bool { return l.Prefix.Contains(a) })
}

// asked are the addresses of a question: those that others can send to, and those that only
// the node itself can.
func (sv *survey) asked(q explain.Question) (own, loopback []netip.Addr) {
	switch {
	case !q.HostIP.IsValid():
		return sv.own, sv.loopback
	case q.HostIP.IsUnspecified():
		other := func(a netip.Addr) bool { return a.Is4() != q.HostIP.Is4() }
		return slices.DeleteFunc(slices.Clone(sv.own), other), slices.DeleteFunc(slices.Clone(sv.loopback), other)
	case q.HostIP.IsLoopback():
		return nil, []netip.Addr{q.HostIP}
	}
	return []netip.Addr{q.HostIP}, []netip.Addr{q.HostIP}
}
