// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"net/netip"
	"sort"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
)

// A Snapshot is what the node looked like under the lock.
type Snapshot struct {
	Local []hostport.Local
	// Broadcasts are the broadcast addresses of the node's networks.
	Broadcasts []netip.Addr
	Listeners  []hostport.Listener
	// Flows are what the node's connected UDP sockets receive.
	Flows []hostport.Flow
	// Rulesets are all rules on the node but our own.
	Rulesets []Ruleset
	// Sets are the node's ipsets, nil if it has none.
	Sets walk.Sets
	// Claims are the mappings in place, portguard's and those of other plugins.
	Claims []hostport.Claim
	// EphemeralFrom and EphemeralTo are ip_local_port_range.
	EphemeralFrom, EphemeralTo uint16
	// Reserved are the ranges of ip_local_reserved_ports.
	Reserved [][2]uint16
	// Programs are the BPF programs that choose sockets, Servers the virtual servers of IPVS,
	// and Policy the rules of routing that are asked before table local.
	Programs hostport.Programs
	Servers  []hostport.VirtualServer
	Policy   []hostport.RouteRule
	// From narrows the question to some packets; an ADD asks for all.
	From From
	// Place is where the mapping would stand.
	Place Place
	// Print, if set, prints a rule as its tool would, "" if it cannot. It is asked for those
	// that are reported.
	Print func(Rule) string
	// Late, if set, tells that nobody can wait any longer for the decision.
	Late func() bool
	// LinkTo, if set, is the node's link to a pod, the zero Link if that is not known.
	LinkTo func(pod netip.Addr) (walk.Link, error)
	// Owns, if set, tells our own chains; an empty table asks for any.
	Owns func(t nft.Table, chain string) bool
}

// A Ruleset is the rules that one part of the kernel holds.
type Ruleset struct {
	// Holder is Nftables or Legacy.
	Holder string
	// Chains are the base chains that packets to the node pass, in the order in which the
	// kernel asks them, Onward those of packets once it is certain who gets them.
	Chains, Onward []nft.Chain
	// Source may leave out rules that are for other destinations and ports. Whole, if set,
	// has these too: the pod has another address and port, and so has who gets the answers.
	Source, Whole walk.Source
	// Drops, if set, reports whether the policy of a base chain is drop.
	Drops func(nft.Chain) (bool, error)
}

// The holders of rules. The rules of iptables-nft are in nf_tables.
const (
	Nftables = "nftables"
	Legacy   = "iptables-legacy"
)

// A Place is where the mapping would stand, among the rules of others.
type Place struct {
	// Flavour is that of the iptables in which it would be at the end of PREROUTING and
	// OUTPUT of table nat, "nft" or "legacy". Without one it would be behind every other
	// base chain: then a Service's own address is safe by order, wherever its rule is.
	Flavour string
}

// A Rule is one rule, by its place.
type Rule struct {
	// Flavour is "nft" or "legacy" for one of iptables; any other is in table Native.
	Flavour      string
	Family       hostport.Family
	Table, Chain string
	// Index is the rule's place among those that were read of the chain, from 0. Of
	// nf_tables not all may have been read: there Handle tells the rule.
	Index  int
	Handle uint64
	Native nft.Table
}

// From tells where packets come from; the zero value is anywhere.
type From struct {
	// Hook is the one they pass first, "" for any.
	Hook walk.Hook
	// Src are their sources, of both families; none of a family are any.
	Src addrset.Set
	// Links, if not nil, are those that they may come by. Otherwise that may be one that is
	// not there yet.
	Links []walk.Link
}

// A Finder decides for any number of attachments on one snapshot.
type Finder struct {
	s        Snapshot
	rulesets []*ruleset
	local    map[hostport.Family]addrset.Set
	// notLoopback is all of IPv4 but 127.0.0.0/8.
	notLoopback addrset.Set
	// claims and listeners are those of each port, chains the base chains of each hook: a
	// pod may have thousands of ports.
	claims    map[uint16][]hostport.Claim
	listeners map[uint16][]hostport.Listener
	chains    map[hooksOf][]group
	// servers are the virtual servers of each port, 0 for those of all ports and by mark.
	servers map[uint16][]hostport.VirtualServer
}

// NewFinder prepares the walk.
func NewFinder(s Snapshot) *Finder {
	s.Sets = newSets(s.Sets)
	d := &Finder{s: s, local: map[hostport.Family]addrset.Set{}, claims: map[uint16][]hostport.Claim{}, listeners: map[uint16][]hostport.Listener{},
		chains: map[hooksOf][]group{}, servers: map[uint16][]hostport.VirtualServer{}, notLoopback: addrset.Of(netip.MustParsePrefix("127.0.0.0/8")).Not(true)}
	for _, c := range s.Claims {
		d.claims[c.Mapping.HostPort] = append(d.claims[c.Mapping.HostPort], c)
	}
	for _, l := range s.Listeners {
		d.listeners[l.Port] = append(d.listeners[l.Port], l)
	}
	for _, v := range s.Servers {
		d.servers[v.Port] = append(d.servers[v.Port], v)
	}
	for _, f := range hostport.Families() {
		d.local[f] = localSet(s, f)
	}
	for _, rs := range s.Rulesets {
		d.rulesets = append(d.rulesets, &ruleset{Ruleset: rs, walkers: map[walkerOf]*walk.Walker{}})
	}
	return d
}

// Among is the same Finder beside other claims.
func (d *Finder) Among(claims []hostport.Claim) *Finder {
	c := *d
	c.s.Claims, c.claims = claims, map[uint16][]hostport.Claim{}
	for _, x := range claims {
		c.claims[x.Mapping.HostPort] = append(c.claims[x.Mapping.HostPort], x)
	}
	return &c
}

// Find is NewFinder for one attachment.
func Find(a hostport.Attachment, s Snapshot) (Report, error) { return NewFinder(s).Find(a) }

// Find decides for every mapping of a.
func (d *Finder) Find(a hostport.Attachment) (Report, error) {
	r := Report{Flows: hostport.Meeting(d.s.Flows, a.Mappings)}
	scope, carves := map[hostport.Family]addrset.Set{}, map[uint16][]hostport.Carve{}
	for _, m := range a.Mappings {
		s := d.s
		s.Claims, s.Listeners = d.claims[m.HostPort], d.listeners[m.HostPort]
		findNotOwn(&r, s, m)
		findListeners(&r, a, s, m)
		findClaims(&r, a, s, m)
		findPrograms(&r, a, s, m)
	}
	for _, f := range hostport.Families() {
		scope[f] = a.Scope(d.s.Local, f)
	}
	for _, c := range r.Carves {
		carves[c.Port] = append(carves[c.Port], c)
	}
	for _, m := range a.Mappings {
		q := query{Finder: d, r: &r, a: &a, m: m, dst: m.In(scope[m.Family], carves[m.HostPort])}
		if err := d.find(q); err != nil {
			return r, err
		}
	}
	sort.SliceStable(r.Conflicts, func(i, j int) bool { return telling(r.Conflicts[i]) < telling(r.Conflicts[j]) })
	return r, nil
}
