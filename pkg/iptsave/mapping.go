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
	dport, _ := s.Option("--dport")
	proto, _ := s.Option("-p")
	port, perr := strconv.ParseUint(dport.Value(), 10, 16)
	p, protoErr := hostport.ParseProto(proto.Value())
	if perr != nil || protoErr != nil {
		return m, to, false
	}
	m = hostport.Mapping{Family: f, Proto: p, HostPort: uint16(port), ContainerPort: to.Port()}
	if d, given := s.Option("-d"); given {
		n, err := netip.ParsePrefix(d.Value())
		if err != nil {
			return m, to, false
		}
		m.HostIP = n.Addr()
	}
	return m, to, true
}
