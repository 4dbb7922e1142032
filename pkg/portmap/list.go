// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"encoding/binary"
	"net/netip"
	"regexp"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
)

// Owner reads the container from the comment of a rule that leads to its chain:
// dnat name: "NETWORK" id: "CONTAINER".
func Owner(comment string) (hostport.Owner, bool) {
	f := regexp.MustCompile(`name: "([^"]*)" id: "([^"]*)`).FindStringSubmatch(comment)
	if f == nil {
		return hostport.Owner{}, false
	}
	return hostport.Owner{Network: f[1], ContainerID: f[2]}, true
}

// Claims are the mappings of the iptables backend in one flavour and family.
func Claims(d *iptsave.Dump, f hostport.Family) []hostport.Claim {
	var out []hostport.Claim
	nat := d.Table("nat")
	c := nat.Chain(Entry)
	if c == nil {
		return nil
	}
	var seen []string
	for _, jump := range c.Rules {
		s := jump.Spec()
		owner, ok := Owner(s.Comment())
		chain := nat.Chain(s.Target)
		if !ok || chain == nil || slices.Contains(seen, s.Target) { // one jump a protocol
			continue
		}
		seen = append(seen, s.Target)
		for _, r := range chain.Rules {
			if m, to, ok := r.Spec().Mapping(f); ok {
				c := hostport.Claim{Owner: owner, Mapping: m, Target: to, Packets: -1}
				if r.Packets != nil {
					c.Packets = int64(*r.Packets)
				}
				out = append(out, c)
			}
		}
	}
	return out
}

// NativeClaims are the mappings of the nftables backend in one table. Its rules do
// not count.
func NativeClaims(t nft.Table, rules map[string][]nft.Rule) []hostport.Claim {
	f := hostport.IPv4
	if t.Family == nft.IPv6 {
		f = hostport.IPv6
	}
	var out []hostport.Claim
	for _, list := range rules {
		for _, r := range list {
			if m, to, ok := native(r, f); ok && r.Comment != "" {
				out = append(out, hostport.Claim{Owner: hostport.Owner{ContainerID: r.Comment}, Mapping: m, Target: to, Packets: -1})
			}
		}
	}
	return out
}

// Attributes of the expressions in portmap's rules (nf_tables.h): what is loaded
// into a register, what it is compared with, and the registers of a dnat.
const (
	reg       = 1
	metaKey   = 2
	l4proto   = 16
	base      = 2
	transport = 2
	network   = 1
	value     = 3
	immediate = 2
	addrReg   = 3
	portReg   = 5
)

// native reads "[ip daddr A] tcp dport P dnat to A:P".
func native(r nft.Rule, f hostport.Family) (m hostport.Mapping, to netip.AddrPort, ok bool) {
	m.Family = f
	regs := map[uint32][]byte{}
	loaded := "" // what the last expression loaded
	for _, e := range r.Exprs {
		was := loaded
		loaded = ""
		switch e.Name {
		case "meta":
			if k, _ := e.Attrs.Num(metaKey); k == l4proto {
				loaded = "proto"
			}
		case "payload":
			switch b, _ := e.Attrs.Num(base); b {
			case transport:
				loaded = "port"
			case network:
				loaded = "addr"
			}
		case "cmp":
			data, _ := e.Attrs.Nested(value)
			compared(&m, was, nft.Value(data))
		case "immediate":
			n, _ := e.Attrs.Num(reg)
			data, _ := e.Attrs.Nested(immediate)
			regs[n] = nft.Value(data)
		case "nat":
			a, _ := e.Attrs.Num(addrReg)
			p, _ := e.Attrs.Num(portReg)
			addr, valid := netip.AddrFromSlice(regs[a])
			if port := regs[p]; valid && len(port) >= 2 {
				m.ContainerPort = binary.BigEndian.Uint16(port)
				return m, netip.AddrPortFrom(addr, m.ContainerPort), m.HostPort != 0
			}
		}
	}
	return m, to, false
}

// compared notes what a rule asks for.
func compared(m *hostport.Mapping, what string, v []byte) {
	switch {
	case what == "proto" && len(v) == 1:
		m.Proto = hostport.Proto(v[0])
	case what == "port" && len(v) == 2:
		m.HostPort = binary.BigEndian.Uint16(v)
	case what == "addr":
		m.HostIP, _ = netip.AddrFromSlice(v)
	}
}
