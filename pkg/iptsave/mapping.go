// SPDX-License-Identifier: Apache-2.0

package iptsave

import (
	"net/netip"
	"strconv"

	"github.com/portguard/portguard/pkg/hostport"
)

// Mapping reads a DNAT of one port, as portguard and portmap write them.
func (s Spec) Mapping(f hostport.Family) (m hostport.Mapping, to netip.AddrPort, ok bool) {
	to, err := netip.ParseAddrPort(s.ToDestination())
	if s.Target != "DNAT" || err != nil {
		return m, to, false
	}
	port, proto, ok := s.Port()
	if !ok {
		return m, to, false
	}
	m = hostport.Mapping{Family: f, Proto: proto, HostPort: port, ContainerPort: to.Port()}
	if d, given := s.Option("-d"); given {
		n, err := netip.ParsePrefix(d.Value())
		if err != nil {
			return m, to, false
		}
		m.HostIP = n.Addr()
	}
	return m, to, true
}

// Port reads the one destination port that a rule is about, and its protocol.
func (s Spec) Port() (port uint16, proto hostport.Proto, ok bool) {
	dport, _ := s.Option("--dport")
	p, _ := s.Option("-p")
	n, err := strconv.ParseUint(dport.Value(), 10, 16)
	proto, protoErr := hostport.ParseProto(p.Value())
	return uint16(n), proto, err == nil && protoErr == nil
}
