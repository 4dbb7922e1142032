// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
)

// A Kind is the reason of a refusal. Its value is the code of the CNI error
// (codes from 100 up are the plugin's own).
type Kind uint

const (
	// Listener means that a process of the node listens there.
	Listener Kind = 100
	// Claimed means that a live attachment of portguard has the port.
	Claimed Kind = 101
	// NodePort means that kube-proxy has a Service with this NodePort, be it without
	// endpoints.
	NodePort Kind = 102
	// NATRule means that somebody else's rule translates the traffic (docker,
	// portmap, CRI-O, a rule made by hand).
	NATRule Kind = 103
	// Undecodable means that a rule names the port and cannot be understood.
	Undecodable Kind = 104
	// Hidden means that a rule ends the walk before ours, so that the mapping
	// could not work.
	Hidden Kind = 105
	// ServiceIP means that a Service has a node address as LoadBalancer or
	// external IP. It is never refused: the Service wins by order.
	ServiceIP Kind = 106
	// Ephemeral means an unconnected UDP socket in the ephemeral range, which
	// may be a mere client. It is never refused.
	Ephemeral Kind = 107
	// CatchAll means a rule without a port of its own that may take the
	// traffic. It is never refused.
	CatchAll Kind = 108
)

// A Finding is one thing that was found on the node for one mapping.
type Finding struct {
	Kind    Kind
	Mapping hostport.Mapping
	// Message is one line: what, where, who and what to do next.
	Message string
	// Dst are the destinations the finding is about, where that matters.
	Dst addrset.Set
	// Portmap is the container for which portmap made the rule; without a
	// ContainerID it is not portmap's. Its nftables backend leaves no network.
	Portmap hostport.Owner
}

// A Report is the decision.
type Report struct {
	// Conflicts refuse the request, the most telling one first.
	Conflicts []Finding
	// Warnings do not.
	Warnings []Finding
	// Carves are addresses that wildcard mappings must leave alone.
	Carves []hostport.Carve
	// TakeOver are the keys of dead owners whose rules must go.
	TakeOver []string
}

// Rules are all tables of one iptables flavour and family.
type Rules struct {
	Flavour string
	Family  hostport.Family
	Dump    *iptsave.Dump
	// Target is set for the flavour in which the mapping would be placed.
	Target bool
	// Part is set if Dump holds our own chains only; then the rules are walked
	// as nf_tables has them.
	Part bool
}

// A Snapshot is what the node looked like under the lock.
type Snapshot struct {
	Local []hostport.Local
	// Broadcasts are the broadcast addresses of the node's networks.
	Broadcasts []netip.Addr
	Listeners  []hostport.Listener
	Rules      []Rules
	// Native are the base chains of nftables; NFT reads what the walk comes to.
	Native []nft.Chain
	NFT    walk.Source
	// Last is set if the mapping would be placed behind every other base chain:
	// then a Service's own address is safe by order, wherever its rule is.
	Last bool
	// Sets are the node's ipsets.
	Sets   walk.Sets
	Claims []hostport.Claim
	// EphemeralFrom and EphemeralTo are ip_local_port_range.
	EphemeralFrom, EphemeralTo uint16
}

// Find decides for every mapping of a. IsOurs tells portguard's own chains.
func Find(a hostport.Attachment, s Snapshot, isOurs func(chain string) bool) (Report, error) {
	var r Report
	for _, m := range a.Mappings {
		findServiceAddr(&r, s, m)
		findListeners(&r, a, s, m)
		findClaims(&r, a, s, m)
	}
	w := newRuleWalk(s, isOurs)
	for _, m := range a.Mappings {
		if err := w.find(&r, a, m); err != nil {
			return r, err
		}
		if err := w.findNative(&r, a, m); err != nil {
			return r, err
		}
	}
	slices.SortStableFunc(r.Conflicts, func(x, y Finding) int { return int(x.Kind) - int(y.Kind) })
	return r, nil
}

func (r *Report) refuse(k Kind, m hostport.Mapping, msg string) { r.refuseOf(k, m, nil, msg) }

func (r *Report) refuseOf(k Kind, m hostport.Mapping, dst addrset.Set, msg string) {
	add(&r.Conflicts, Finding{Kind: k, Mapping: m, Message: msg, Dst: dst})
}

func (r *Report) warn(k Kind, m hostport.Mapping, msg string) { r.warnOf(k, m, nil, msg) }

func (r *Report) warnOf(k Kind, m hostport.Mapping, dst addrset.Set, msg string) {
	add(&r.Warnings, Finding{Kind: k, Mapping: m, Message: msg, Dst: dst})
}

// add drops what was said already: one dual-stack listener stands in the way
// of a mapping in both families.
func add(list *[]Finding, f Finding) {
	if !slices.ContainsFunc(*list, func(o Finding) bool { return o.Message == f.Message }) {
		*list = append(*list, f)
	}
}

// findServiceAddr refuses a hostIP that belongs to a Service in ipvs mode: the
// rules spare those addresses, so the mapping could never work.
func findServiceAddr(r *Report, s Snapshot, m hostport.Mapping) {
	if m.Wildcard() {
		return
	}
	for _, l := range s.Local {
		if l.Infrastructure == hostport.IPVSLink && l.Prefix.Contains(m.HostIP) {
			r.refuse(Hidden, m, fmt.Sprintf("hostPort %s would not work: %s is the address of a Service (on %s); choose an address of the node", m, m.HostIP, hostport.IPVSLink))
		}
	}
}
