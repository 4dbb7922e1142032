// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/explain"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/walk"
)

// Explain says who has a claim on the port of a question, and what an ADD with
// configuration c that asks for it would do now: by deciding it. Nothing changes.
func (p *Plugin) Explain(c *netconf.Config, q explain.Question) (explain.Answer, error) {
	store, t := state.Open(c.DataDir), p.tools(c.LockTimeout)
	on, err := host.Addresses()
	if err != nil {
		return explain.Answer{}, err
	}
	a := hostport.Attachment{Mappings: asked(q), Excludes: c.Excludes, Localhost: c.Localhost}
	if _, err := surround(&a, on); err != nil {
		return explain.Answer{}, err
	}
	v, backend, err := p.survey(&netconf.Request{Config: c, Attachment: a}, need{unknown: true, whole: true}, on, t)
	if err == nil {
		err = v.readTable(nil)
	}
	to := target{backend: backend}
	if err == nil {
		err = v.locate(&to, a.Localhost, t)
	}
	if err != nil {
		return explain.Answer{}, err
	}
	r, err := p.sides(p.finder(to, store, v, on, t), a, c.CacheDir)
	if err != nil {
		return explain.Answer{}, err
	}
	own, loopback := reachable(on.Local)
	ans := explain.New(q, r, own, loopback)
	ans.Foreign = q.HostIP.IsValid() && !q.HostIP.IsUnspecified() && !slices.ContainsFunc(on.Local, func(l hostport.Local) bool { return l.Prefix.Contains(q.HostIP) })
	if d := &ans.Decision; c.WarnOnly && !d.Allowed {
		*d = explain.Decision{Allowed: true, Warnings: append(d.Refusals, d.Warnings...)}
	}
	return ans, nil
}

// asked are the mappings that a hostPort without further ado would be.
func asked(q explain.Question) []hostport.Mapping {
	m := hostport.Mapping{HostIP: q.HostIP, Proto: q.Proto, HostPort: q.Port}
	if q.HostIP.IsValid() {
		m.Family = hostport.FamilyOf(q.HostIP)
		if q.HostIP.IsUnspecified() { // all addresses of one family
			m.HostIP = netip.Addr{}
		}
		return []hostport.Mapping{m}
	}
	var out []hostport.Mapping
	for _, m.Family = range nodeFamilies() {
		out = append(out, m)
	}
	return out
}

// sides asks for all packets and for those of each side.
func (p *Plugin) sides(d *finder, a hostport.Attachment, cacheDir string) (r explain.Reports, err error) {
	pods := podNetworks(d.store)
	bridges, err := host.Bridges()
	if err != nil {
		return r, err
	}
	local := a
	local.Mappings = onLoopback(a.Mappings)
	for _, s := range []struct {
		from conflict.From
		a    hostport.Attachment
		into *conflict.Report
	}{
		{conflict.From{}, a, &r.All},
		{conflict.From{Hook: walk.Prerouting, Src: without(d.on, pods), NotIn: bridges}, a, &r.Outside},
		{conflict.From{Hook: walk.Output}, local, &r.Localhost},
		{conflict.From{Hook: walk.Prerouting, Src: pods}, a, &r.Pod},
	} {
		d.from = s.from
		if *s.into, err = d.find(s.a); err != nil {
			return r, err
		}
		deadOfPortmap(s.into, cacheDir)
	}
	return r, nil
}

// onLoopback asks for 127.0.0.1 and ::1, which a wildcard mapping may leave alone.
func onLoopback(ms []hostport.Mapping) []hostport.Mapping {
	out := slices.Clone(ms)
	for i, m := range out {
		switch {
		case !m.Wildcard():
		case m.Family == hostport.IPv4:
			out[i].HostIP = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		default:
			out[i].HostIP = netip.IPv6Loopback()
		}
	}
	return out
}

// podNetworks are those of the pods that have records, nil if there is none.
func podNetworks(store *state.Store) (out addrset.Set) {
	for _, key := range store.Keys() {
		if rec, err := store.Load(key); err == nil {
			for _, pod := range rec.Attachment.Pods {
				out = out.Or(addrset.Of(pod))
			}
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

// reachable are the addresses of the node that others can send to, and its
// loopback ones. Of a local network only the first address is looked at.
func reachable(local []hostport.Local) (own, loopback []netip.Addr) {
	loopback = append(loopback, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	if host.HasIPv6() {
		loopback = append(loopback, netip.IPv6Loopback())
	}
	for _, l := range local {
		a := l.Prefix.Addr()
		if l.Infrastructure == "" && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !slices.Contains(own, a) {
			own = append(own, a)
		}
	}
	return own, loopback
}
