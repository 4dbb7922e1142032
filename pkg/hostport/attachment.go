// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
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
//
//go:noinline // it is called from many places
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
func (m Mapping) SameKey(o Mapping) bool { return m.Traffic() == o.Traffic() }

// Traffic is m without where it leads.
func (m Mapping) Traffic() Mapping {
	m.ContainerPort = 0
	return m
}

// Overlaps reports whether some packet could belong to both m and o. A wildcard
// overlaps every address of its family.
func (m Mapping) Overlaps(o Mapping) bool {
	return m.Family == o.Family && m.Proto == o.Proto && m.HostPort == o.HostPort &&
		(m.Wildcard() || o.Wildcard() || m.HostIP == o.HostIP)
}

// A Carve is one local address and port that a mapping leaves alone, because somebody on
// the node already listens there: a wildcard mapping without Link (127.0.0.53:53), the
// mapping with that hostIP for what comes in by Link (0.0.0.0%virbr0:53).
type Carve struct {
	Addr  netip.Addr `json:"addr"`
	Proto Proto      `json:"protocol"`
	Port  uint16     `json:"port"`
	Link  string     `json:"link,omitempty"`
}

// Leaves reports whether a mapping leaves c alone.
func (c Carve) Leaves(m Mapping) bool {
	return c.Proto == m.Proto && c.Port == m.HostPort && FamilyOf(c.Addr) == m.Family && (c.Link == "" && m.Wildcard() || c.Link != "" && m.HostIP == c.Addr)
}

// A Flow is what a connected UDP socket of the node receives, and from whom.
type Flow struct {
	Local netip.AddrPort `json:"local"`
	Peer  netip.AddrPort `json:"peer"`
}

// Meets reports whether the packets of f are for a mapping's port and address.
func (f Flow) Meets(m Mapping) bool {
	return m.Proto == UDP && m.HostPort == f.Local.Port() && FamilyOf(f.Local.Addr()) == m.Family && (m.Wildcard() || m.HostIP == f.Local.Addr())
}

// Meeting returns the flows that some of the mappings meet, each once.
func Meeting(flows []Flow, ms []Mapping) (out []Flow) {
	if len(flows) == 0 {
		return nil
	}
	at, seen := ByPort(ms), map[Flow]bool{}
	for _, f := range flows {
		if !seen[f] && slices.ContainsFunc(at[f.Local.Port()], f.Meets) {
			seen[f] = true
			out = append(out, f)
		}
	}
	return out
}

// An Attachment is all that the rules of one (container, interface) are made
// from. Two equal Attachments have equal rules.
type Attachment struct {
	Owner Owner `json:"owner"`
	// Pods holds the pod's address with the prefix of its network, at most one
	// a family.
	Pods     []netip.Prefix `json:"pods"`
	Mappings []Mapping      `json:"mappings"`
	// Excludes, and Carves without a link, are never matched by a wildcard mapping.
	Carves   []Carve        `json:"carves,omitempty"`
	Excludes []netip.Prefix `json:"excludes,omitempty"`
	// ExcludeInterfaces are links whose addresses are not the node's own. They count for
	// all attachments of the node.
	ExcludeInterfaces Links `json:"excludeInterfaces,omitempty"`
	// Flows are never matched by any mapping: what the connected UDP sockets of the node
	// received at the last look.
	Flows []Flow `json:"flows,omitempty"`
	// Networks are the node's own at the time of ADD. Connections to another
	// destination are not to a hostPort and are not masqueraded.
	Networks []netip.Prefix `json:"networks,omitempty"`
	// SNAT masquerades hairpin and neighbour traffic, MasqAll all of it.
	SNAT    bool `json:"snat"`
	MasqAll bool `json:"masqAll,omitempty"`
	// Localhost maps 127.0.0.1 too. It needs Link.
	Localhost bool `json:"localhost"`
	// Link is the host's interface towards the pod, "" if unknown.
	Link string `json:"link,omitempty"`
	// LocalnetWas is what route_localnet of Link was before portguard needed it.
	LocalnetWas  bool     `json:"localnetWas,omitempty"`
	ConditionsV4 []string `json:"conditionsV4,omitempty"`
	ConditionsV6 []string `json:"conditionsV6,omitempty"`
	// Reserve says whether its ports are held against binds of others.
	Reserve Reserve `json:"reserve,omitempty"`
}

// A Reserve says whether ports are held against binds of others.
type Reserve string

// ReserveAuto holds them where the kernel can, ReserveOff does not, and ReserveRequire must.
// With ReserveRuntime the container runtime binds them itself, so nobody else can.
const (
	ReserveAuto    Reserve = ""
	ReserveOff     Reserve = "off"
	ReserveRequire Reserve = "require"
	ReserveRuntime Reserve = "runtime"
)

// Pod returns the pod's address of family f and whether it has one.
func (a Attachment) Pod(f Family) (netip.Prefix, bool) {
	for _, p := range a.Pods {
		if FamilyOf(p.Addr()) == f {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Target is where m leads, the zero AddrPort if the pod has no address of its family.
func (a Attachment) Target(m Mapping) netip.AddrPort {
	pod, ok := a.Pod(m.Family)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(pod.Addr(), m.ContainerPort)
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

// PassedBy are the links by which packets to m's address come in that a leaves alone.
func (a Attachment) PassedBy(m Mapping) (links []string) {
	for _, c := range a.Carves {
		if c.Link != "" && c.Leaves(m) {
			links = append(links, c.Link)
		}
	}
	return links
}

// Restricted reports whether a's mappings of family f take only some of the packets to
// their ports.
func (a Attachment) Restricted(f Family) bool { return len(a.Conditions(f)) > 0 }

// Spared are the addresses that a's wildcard mappings never match, wherever they
// are. The rules (package ruleset, spareRules) say the same.
func (a Attachment) Spared(f Family) addrset.Set {
	out := []addrset.Set{addrset.Of(netip.MustParsePrefix("127.0.0.0/8"))}
	switch {
	case f == IPv6:
		// The kernel cannot translate ::1 to another host, nor forward what
		// comes from a link-local address.
		out = []addrset.Set{addrset.Of(netip.MustParsePrefix("::1/128")), addrset.Of(netip.MustParsePrefix("fe80::/10"))}
	case a.Localhost:
		out = []addrset.Set{addrset.Between(netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.255.255.255"))}
	}
	for _, p := range a.Excludes {
		if FamilyOf(p.Addr()) == f {
			out = append(out, addrset.Of(p))
		}
	}
	return addrset.Union(out...)
}

// Scope are the local addresses that a's wildcard mappings match, carves aside.
func (a Attachment) Scope(local []Local, f Family) addrset.Set {
	return Own(local, f).Minus(a.Spared(f))
}

// Destinations are the addresses at which a maps m.
func (a Attachment) Destinations(local []Local, m Mapping) addrset.Set {
	return m.In(a.Scope(local, m.Family), a.Carves)
}

// In is Destinations where the scope of m's attachment is known, and its carves.
func (m Mapping) In(scope addrset.Set, carves []Carve) addrset.Set {
	if !m.Wildcard() {
		return addrset.Between(m.HostIP, m.HostIP)
	}
	out := scope
	for _, c := range carves {
		if c.Leaves(m) {
			out = out.Minus(addrset.Between(c.Addr, c.Addr))
		}
	}
	return out
}
