// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Mapping sends traffic for one hostPort of one family to a port of the pod.
// A request for both families is two Mappings.
type Mapping struct {
	Family Family `json:"family"`
	// HostIP is the local address to map; the zero Addr means every local
	// address of Family that is not excluded.
	HostIP        netip.Addr `json:"hostIP,omitzero"`
	Proto         Proto      `json:"protocol"`
	HostPort      uint16     `json:"hostPort"`
	ContainerPort uint16     `json:"containerPort"`
}

// Wildcard reports whether m maps every local address.
func (m Mapping) Wildcard() bool { return !m.HostIP.IsValid() }

// String returns "80/tcp" or "192.0.2.1:80/tcp".
func (m Mapping) String() string {
	if m.Wildcard() {
		return fmt.Sprintf("%d/%s", m.HostPort, m.Proto)
	}
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(m.HostIP, m.HostPort), m.Proto)
}

// SameKey reports whether m and o ask for the same packets, whatever they do
// with them.
func (m Mapping) SameKey(o Mapping) bool {
	m.ContainerPort = o.ContainerPort
	return m == o
}

// Overlaps reports whether some packet could belong to both m and o. A wildcard
// overlaps every address of its family.
func (m Mapping) Overlaps(o Mapping) bool {
	return m.Family == o.Family && m.Proto == o.Proto && m.HostPort == o.HostPort &&
		(m.Wildcard() || o.Wildcard() || m.HostIP == o.HostIP)
}

// A Carve is one local address and port that a wildcard mapping leaves alone,
// because somebody on the node already listens there (127.0.0.53:53).
type Carve struct {
	Addr  netip.Addr `json:"addr"`
	Proto Proto      `json:"protocol"`
	Port  uint16     `json:"port"`
}

// An Attachment is all that the rules of one (container, interface) are made
// from. Two equal Attachments have equal rules.
type Attachment struct {
	Owner Owner `json:"owner"`
	// Pods holds the pod's address with the prefix of its network, at most one
	// a family.
	Pods     []netip.Prefix `json:"pods"`
	Mappings []Mapping      `json:"mappings"`
	// Carves and Excludes are never matched by a wildcard mapping.
	Carves   []Carve        `json:"carves,omitempty"`
	Excludes []netip.Prefix `json:"excludes,omitempty"`
	// SNAT masquerades hairpin and neighbour traffic, MasqAll all of it.
	SNAT    bool `json:"snat"`
	MasqAll bool `json:"masqAll,omitempty"`
	// Localhost maps 127.0.0.1 too. It needs Link.
	Localhost bool `json:"localhost"`
	// Link is the host's interface towards the pod, "" if unknown.
	Link         string   `json:"link,omitempty"`
	ConditionsV4 []string `json:"conditionsV4,omitempty"`
	ConditionsV6 []string `json:"conditionsV6,omitempty"`
}

// Pod returns the pod's address of family f and whether it has one.
func (a Attachment) Pod(f Family) (netip.Prefix, bool) {
	for _, p := range a.Pods {
		if FamilyOf(p.Addr()) == f {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Of returns the mappings of family f.
func (a Attachment) Of(f Family) []Mapping {
	return slices.DeleteFunc(slices.Clone(a.Mappings), func(m Mapping) bool { return m.Family != f })
}

// Conditions returns the user's extra matches for family f.
func (a Attachment) Conditions(f Family) []string {
	if f == IPv4 {
		return a.ConditionsV4
	}
	return a.ConditionsV6
}

// Claims reports whether the attachment's wildcard mappings match a local
// address at all, carves aside. The rules (package ruleset, spareRules) say the
// same.
func (a Attachment) Claims(addr LocalAddr) bool {
	ip := addr.Addr
	switch {
	case addr.Infrastructure():
		return false
	case ip.IsLoopback() && ip.Is4():
		return a.Localhost && ip == netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip.IsLoopback():
		return false
	case ip.Is6() && ip.IsLinkLocalUnicast():
		return false
	}
	return !slices.ContainsFunc(a.Excludes, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Carved reports whether m leaves a local address alone.
func (a Attachment) Carved(addr netip.Addr, m Mapping) bool {
	return slices.Contains(a.Carves, Carve{Addr: addr, Proto: m.Proto, Port: m.HostPort})
}
