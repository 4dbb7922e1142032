// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"net/netip"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// Claims implements backend.State. The pod's port of a mapping with conditions is not
// known.
func (s *State) Claims() []hostport.Claim {
	if s.claims == nil {
		s.claims = s.claimed()
	}
	return s.claims
}

func (s *State) claimed() (out []hostport.Claim) {
	seen, passed := s.known(), s.passed()
	elements := s.Table.Elements(func(e nfttable.Element) bool {
		// localhost is a part of a wildcard mapping, and what leads to bylink one of another.
		return e.Set != setLocalhost && !byLink(e) && s.Table.Spec.Set(e.Set).Map()
	})
	out = make([]hostport.Claim, 0, len(elements)) // one pod may have thousands
	for _, e := range elements {
		m, to, ok := mapping(s.Table.Spec, e)
		if !ok {
			continue
		}
		by := seen.of(e)
		out = append(out, hostport.Claim{Owner: by.Owner, Key: by.key, Backend: Name, Where: "nftables table " + s.Table.Spec.Table.String(), Priority: Priority,
			Mapping: m, Part: e.Goto != "", Target: to, NotBy: passed[carved{m.HostIP, m.Proto, m.HostPort}], Packets: s.counted(e)})
	}
	return out
}

// byLink reports whether an element leads to one of the chains bylink4 and bylink6.
func byLink(e nfttable.Element) bool { return strings.HasPrefix(e.Goto, "bylink") }

// carved is what a mapping of one address leaves out of links.
type carved struct {
	at    netip.Addr
	proto hostport.Proto
	port  uint16
}

// passed are the links by which what comes in is left to others.
func (s *State) passed() map[carved][]string {
	out := map[carved][]string{}
	for _, e := range s.Table.Elements(func(e nfttable.Element) bool { return strings.HasPrefix(e.Set, "bylink") }) {
		if c, ok := s.carve(e); ok {
			at := carved{c.Addr, c.Proto, c.Port}
			out[at] = append(out[at], c.Link)
		}
	}
	return out
}

// carve reads an element of the sets bylink4 and bylink6.
func (s *State) carve(e nfttable.Element) (c hostport.Carve, ok bool) {
	parts, ok := s.Table.Spec.Set(e.Set).Parts(e.From)
	if ok {
		c = hostport.Carve{Link: nfttable.LinkOf(parts[0]), Proto: hostport.Proto(parts[2][0]), Port: nfttable.PortOf(parts[3])}
		c.Addr, _ = netip.AddrFromSlice(parts[1])
	}
	return c, ok
}

// counted is how many packets found e, those to 127.0.0.1 among them.
func (s *State) counted(e nfttable.Element) int64 {
	n, ok := s.Table.Packets(e)
	if !ok {
		return -1
	}
	if at, has := s.localhostOf(e); has {
		more, _ := s.Table.Packets(at)
		n += more
	}
	return int64(n)
}

// localhostOf is the element that maps 127.0.0.1 beside the one of a wildcard mapping.
func (s *State) localhostOf(e nfttable.Element) (at nfttable.Element, ok bool) {
	at, ok = s.Table.Same(nfttable.Element{Set: setLocalhost, From: e.From})
	return at, ok && e.Set == "ports4" && (at.Comment == e.Comment || at.Owner() == e.Owner())
}

// mapping reads an element that leads to a pod, and where it leads.
func mapping(spec nfttable.Spec, e nfttable.Element) (m hostport.Mapping, to netip.AddrPort, ok bool) {
	s := spec.Set(e.Set)
	parts, whole := s.Parts(e.From)
	if !whole || !s.Map() {
		return m, to, false
	}
	m.Family = hostport.IPv4
	if strings.HasSuffix(e.Set, "6") {
		m.Family = hostport.IPv6
	}
	if len(parts) == 3 { // address, protocol, port
		if e.To == "" || e.To == e.From {
			m.HostIP, _ = netip.AddrFromSlice(parts[0])
		}
		parts = parts[1:]
	}
	m.Proto, m.HostPort = hostport.Proto(parts[0][0]), nfttable.PortOf(parts[1])
	if v, ok := s.Values(e.Value); ok {
		pod, _ := netip.AddrFromSlice(v[0])
		to = netip.AddrPortFrom(pod, nfttable.PortOf(v[1]))
		m.ContainerPort = to.Port()
	}
	return m, to, true
}
