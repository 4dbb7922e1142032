// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
)

// Claims returns the mappings that are in place. The pod's port of one with
// conditions is not known.
func (t *Table) Claims() []hostport.Claim {
	var out []hostport.Claim
	for _, e := range t.sorted() {
		m, to, ok := mapping(e)
		if !ok || e.Set == setLocalhost { // that is a part of a wildcard mapping
			continue
		}
		owner, key, _ := hostport.ParseTag(e.Comment)
		out = append(out, hostport.Claim{Owner: owner, Key: key, Mapping: m, Part: e.Goto != "", Target: to, Packets: t.counted(e)})
	}
	return out
}

// counted is how many packets found e, those to 127.0.0.1 among them.
func (t *Table) counted(e Element) int64 {
	n, ok := t.packets[e.key()]
	if !ok {
		return -1
	}
	if at := (Element{Set: setLocalhost, From: e.From}); e.Set == "ports4" && t.elements[at.key()].owner() == e.owner() {
		n += t.packets[at.key()]
	}
	return int64(n)
}

// mapping reads an element that leads to a pod, and where it leads.
func mapping(e Element) (m hostport.Mapping, to netip.AddrPort, ok bool) {
	s, known := spec(e.Set)
	parts, whole := s.parts(e.From)
	if !known || !whole || !s.isMap() {
		return m, to, false
	}
	m.Family = hostport.IPv4
	for i, k := range s.key {
		switch k {
		case addr4, addr6:
			a, _ := netip.AddrFromSlice(parts[i])
			m.Family = hostport.FamilyOf(a)
			if e.To == "" || e.To == e.From {
				m.HostIP = a
			}
		case proto:
			m.Proto = hostport.Proto(parts[i][0])
		case ifname: // only in sets
		case service:
			m.HostPort = uint16(parts[i][0])<<8 | uint16(parts[i][1])
		}
	}
	if e.Set == "ports6" {
		m.Family = hostport.IPv6
	}
	if e.Set == setLocalhost {
		m.HostIP = localhost()
	}
	if v, ok := (setSpec{key: s.value}).parts(e.Value); ok && len(v) == 2 {
		a, _ := netip.AddrFromSlice(v[0])
		to = netip.AddrPortFrom(a, uint16(v[1][0])<<8|uint16(v[1][1]))
		m.ContainerPort = to.Port()
	}
	return m, to, true
}

// Targets returns the pod addresses that the attachment's elements lead to.
func (t *Table) Targets(key string) []netip.Addr {
	var out []netip.Addr
	for _, e := range t.sorted() {
		if e.owner() != key {
			continue
		}
		_, to, _ := mapping(e)
		pod := to.Addr()
		if s, _ := spec(e.Set); strings.HasPrefix(e.Set, "masquerade") {
			if parts, ok := s.parts(e.From); ok {
				pod, _ = netip.AddrFromSlice(parts[0])
			}
		}
		if pod.IsValid() && !slices.Contains(out, pod) {
			out = append(out, pod)
		}
	}
	return out
}

// Carves returns the single addresses that the attachment's wildcard mappings
// leave alone.
func (t *Table) Carves(key string) []hostport.Carve {
	var out []hostport.Carve
	for _, e := range t.sorted() {
		s, _ := spec(e.Set)
		if !strings.HasPrefix(e.Set, "spared") || e.owner() != key || e.To != e.From {
			continue
		}
		if p, ok := s.parts(e.From); ok {
			a, _ := netip.AddrFromSlice(p[2])
			out = append(out, hostport.Carve{Addr: a, Proto: hostport.Proto(p[0][0]), Port: uint16(p[1][0])<<8 | uint16(p[1][1])})
		}
	}
	return out
}
