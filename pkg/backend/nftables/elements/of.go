// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// Of are the elements that an attachment has in the table of the mappings, with those
// that it shares, some of them more than once.
func Of(a hostport.Attachment) []nfttable.Element { return and(nil, a) }

// and appends those of another attachment.
func and(out []nfttable.Element, a hostport.Attachment) []nfttable.Element {
	out = slices.Grow(out, 4*len(a.Mappings)) // about as many as there are
	each(a, func(e nfttable.Element) { out = append(out, e) })
	return out
}

// each calls f with the elements of an attachment, with some more than once.
func each(a hostport.Attachment, f func(nfttable.Element)) {
	tag := a.Owner.Tag()
	add := func(list ...nfttable.Element) {
		for _, e := range list {
			e.Comment = cmp.Or(e.Comment, tag)
			f(e)
		}
	}
	chain, _ := conditions(a)
	carves, flows := map[uint16][]hostport.Carve{}, map[uint16][]hostport.Flow{}
	for _, c := range a.Carves {
		carves[c.Port] = append(carves[c.Port], c)
	}
	for _, x := range a.Flows {
		flows[x.Local.Port()] = append(flows[x.Local.Port()], x)
	}
	for _, fam := range hostport.Families() {
		pod, ok := a.Pod(fam)
		if !ok {
			continue
		}
		f := info(fam)
		add(masqueraded(a, f, pod)...)
		a := a
		for _, m := range a.Of(fam) {
			a.Carves, a.Flows = carves[m.HostPort], flows[m.HostPort] // there may be some for each
			add(mapped(a, f, m, pod.Addr(), chain.Name)...)
			add(linked(a, m, pod.Addr())...)
			add(connected(a, f, m)...)
			add(passed(a, f, m)...)
			if m.Wildcard() {
				add(left(a, f, m)...)
			}
		}
	}
}

// mapped are the elements that lead to the pod.
func mapped(a hostport.Attachment, f familyInfo, m hostport.Mapping, pod netip.Addr, chain string) []nfttable.Element {
	value := nfttable.Join(nfttable.AddrKey(pod), nfttable.PortKey(m.ContainerPort))
	switch {
	case len(a.Conditions(f.family)) > 0:
		if !m.Wildcard() && wildcardToo(a, m) {
			return nil // its rule stands in the same chain
		}
		lead := led(m)
		lead.Goto = chain
		return []nfttable.Element{lead}
	case !m.Wildcard():
		lead := led(m)
		out := []nfttable.Element{{Set: f.name("addresses"), From: lead.From, Value: value}}
		if lead.Goto = f.name("bylink"); len(a.PassedBy(m)) > 0 {
			out = append(out, lead)
		}
		return out
	}
	port := portOf(m)
	out := []nfttable.Element{{Set: f.name("ports"), From: string(port), Value: value}}
	if f.family == hostport.IPv4 && mapsLocalhost(a) && !slices.Contains(a.Carves, localhostCarve(m)) {
		out = append(out, nfttable.Element{Set: setLocalhost, From: string(port), Value: value})
	}
	return out
}

// led is the element for m in the map that leads to chains.
func led(m hostport.Mapping) nfttable.Element {
	hosts := netip.PrefixFrom(m.HostIP, m.HostIP.BitLen())
	if m.Wildcard() {
		hosts = netip.PrefixFrom(m.Family.Wildcard(), 0)
	}
	from, to := nfttable.Ends(hosts)
	return nfttable.Element{Set: info(m.Family).name("conditions"), From: nfttable.Join(from, portOf(m)), To: nfttable.Join(to, portOf(m))}
}

// linked is the element by which connections from localhost are masqueraded.
func linked(a hostport.Attachment, m hostport.Mapping, pod netip.Addr) []nfttable.Element {
	to := m.HostIP
	if m.Wildcard() {
		to = localhost()
	}
	if m.Family != hostport.IPv4 || !a.Localhost || !to.IsLoopback() {
		return nil
	}
	return []nfttable.Element{{Set: setLinks, From: nfttable.Join(nfttable.LinkKey(a.Link), nfttable.AddrKey(to), nfttable.AddrKey(pod), portOf(m))}}
}

// left are the elements for what a wildcard mapping leaves alone.
func left(a hostport.Attachment, f familyInfo, m hostport.Mapping) []nfttable.Element {
	var out []nfttable.Element
	for _, p := range spared(a, f, m) {
		from, to := nfttable.Ends(p)
		out = append(out, nfttable.Element{Set: f.name("spared"), From: nfttable.Join(portOf(m), from), To: nfttable.Join(portOf(m), to)})
	}
	return out
}

// connected are the elements for what connected UDP sockets of the node receive.
func connected(a hostport.Attachment, f familyInfo, m hostport.Mapping) []nfttable.Element {
	var out []nfttable.Element
	for _, x := range a.Flows {
		if x.Meets(m) {
			out = append(out, nfttable.Element{Set: f.name("connected"), From: nfttable.Join(nfttable.AddrKey(x.Local.Addr()), nfttable.PortKey(x.Local.Port()),
				nfttable.AddrKey(x.Peer.Addr()), nfttable.PortKey(x.Peer.Port()))})
		}
	}
	return out
}

// passed are the elements for what comes in by links and is left to listeners there.
func passed(a hostport.Attachment, f familyInfo, m hostport.Mapping) []nfttable.Element {
	var out []nfttable.Element
	for _, link := range a.PassedBy(m) {
		out = append(out, nfttable.Element{Set: f.name("bylink"), From: nfttable.Join(nfttable.LinkKey(link), nfttable.AddrKey(m.HostIP), portOf(m))})
	}
	return out
}

// portOf is the protocol and the hostPort of m as parts of a key.
func portOf(m hostport.Mapping) []byte {
	return append(nfttable.ProtoKey(m.Proto), nfttable.PortKey(m.HostPort)...)
}

func localhost() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

func localhostCarve(m hostport.Mapping) hostport.Carve {
	return hostport.Carve{Addr: localhost(), Proto: m.Proto, Port: m.HostPort}
}

// mapsLocalhost reports whether a's wildcard mappings match 127.0.0.1.
func mapsLocalhost(a hostport.Attachment) bool {
	return a.Localhost && !slices.ContainsFunc(a.Excludes, func(p netip.Prefix) bool { return p.Contains(localhost()) })
}

// wildcardToo reports whether a also maps m's port on all addresses.
func wildcardToo(a hostport.Attachment, m hostport.Mapping) bool {
	return slices.ContainsFunc(a.Mappings, func(o hostport.Mapping) bool { return o.Wildcard() && o.Overlaps(m) })
}

// spared are the destinations that a wildcard mapping leaves alone, besides those
// that all do (neverWildcard) and those that another one covers.
func spared(a hostport.Attachment, f familyInfo, m hostport.Mapping) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range a.Excludes {
		if hostport.FamilyOf(p.Addr()) == f.family {
			all = append(all, p.Masked())
		}
	}
	for _, c := range a.Carves {
		if c.Leaves(m) {
			all = append(all, netip.PrefixFrom(c.Addr, c.Addr.BitLen()))
		}
	}
	if len(all) == 0 {
		return nil
	}
	for _, s := range neverWildcard(f.family) {
		all = append(all, netip.MustParsePrefix(s))
	}
	return slices.DeleteFunc(widest(all), func(p netip.Prefix) bool { return slices.Contains(neverWildcard(f.family), p.String()) })
}

// widest drops networks that another one holds: intervals of a set must not
// overlap.
func widest(all []netip.Prefix) []netip.Prefix {
	sort.Slice(all, func(i, j int) bool { return all[i].Compare(all[j]) < 0 })
	var out []netip.Prefix
	for _, p := range all {
		if len(out) == 0 || !out[len(out)-1].Contains(p.Addr()) {
			out = append(out, p)
		}
	}
	return out
}
