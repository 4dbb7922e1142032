// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

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

// String is the kind's name in outputs for programs; it is stable.
func (k Kind) String() string {
	switch k {
	case Listener:
		return "listener"
	case Claimed:
		return "hostPort"
	case NodePort:
		return "nodePort"
	case NATRule:
		return "natRule"
	case Undecodable:
		return "undecodable"
	case Hidden:
		return "hidden"
	case ServiceIP:
		return "serviceIP"
	case Ephemeral:
		return "ephemeral"
	case CatchAll:
		return "catchAll"
	}
	return fmt.Sprintf("kind-%d", uint(k))
}

// Translates reports whether what was found is a rule that may translate.
func (k Kind) Translates() bool {
	switch k {
	case NodePort, NATRule, Undecodable, ServiceIP, CatchAll:
		return true
	case Listener, Claimed, Hidden, Ephemeral:
	}
	return false
}

// A Finding is one thing that was found on the node for one mapping.
type Finding struct {
	Kind    Kind
	Mapping hostport.Mapping
	// Message is one line: what, where, who and what to do next.
	Message string
	// Who is the claimant in a few words: "nginx (pid 12)".
	Who string
	// Where is the claimant's rule with the chains that lead to it, "" if it has
	// none.
	Where string
	// At are the points at which the kernel asks the claimant.
	At []Point
	// Dst are the destinations the finding is about.
	Dst addrset.Set
	// Part is set if the claimant takes only some of the packets, or may.
	Part bool
	// Dead is set for the rules of an owner that is gone.
	Dead bool
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
	// Beside is what has the same port and takes nothing from the request: who
	// listens on an address that the mapping leaves alone, and dead owners.
	Beside []Finding
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
	// From narrows the question to some packets; an ADD asks for all.
	From From
}

// From tells where packets come from; the zero value is anywhere.
type From struct {
	// Hook is the one they pass first, "" for any.
	Hook walk.Hook
	// Src are their sources, of both families; none of a family are any.
	Src addrset.Set
	// NotIn are links that they do not come by.
	NotIn []string
}

// A Finder decides for any number of attachments on one snapshot.
type Finder struct {
	s Snapshot
	w *ruleWalk
}

// NewFinder prepares the walk. IsOurs tells portguard's own chains.
func NewFinder(s Snapshot, isOurs func(chain string) bool) *Finder {
	return &Finder{s: s, w: newRuleWalk(s, isOurs)}
}

// Find is NewFinder for one attachment.
func Find(a hostport.Attachment, s Snapshot, isOurs func(chain string) bool) (Report, error) {
	return NewFinder(s, isOurs).Find(a)
}

// Find decides for every mapping of a.
func (d *Finder) Find(a hostport.Attachment) (Report, error) {
	var r Report
	s, w := d.s, d.w
	for _, m := range a.Mappings {
		findServiceAddr(&r, s, m)
		findListeners(&r, a, s, m)
		findClaims(&r, a, s, m)
	}
	for _, m := range a.Mappings {
		if err := w.find(&r, a, m); err != nil {
			return r, err
		}
		if err := w.findNative(&r, a, m); err != nil {
			return r, err
		}
	}
	sort.SliceStable(r.Conflicts, func(i, j int) bool { return r.Conflicts[i].Kind < r.Conflicts[j].Kind })
	return r, nil
}

func (r *Report) refuse(f Finding) { add(&r.Conflicts, f) }

func (r *Report) warn(f Finding) { add(&r.Warnings, f) }

func (r *Report) note(f Finding) { add(&r.Beside, f) }

// add joins what was said already of the mapping: a rule is found from outside and
// from the node. It makes the message one plain line, because others have chosen the
// names and comments in it.
func add(list *[]Finding, f Finding) {
	f.Message = hostport.Line(f.Message)
	i := slices.IndexFunc(*list, func(o Finding) bool {
		return o.Mapping == f.Mapping && o.Kind == f.Kind && (o.Message == f.Message || o.Who == f.Who && sameRule(o.Where, f.Where))
	})
	if i < 0 {
		*list = append(*list, f)
		return
	}
	o := &(*list)[i]
	o.Dst = o.Dst.Or(f.Dst)
	for _, p := range f.At {
		if !slices.Contains(o.At, p) {
			o.At = append(o.At, p)
		}
	}
}

// sameRule reports whether two places are one rule that two base chains lead to:
// "iptables-nft IPv4 nat PREROUTING > DOCKER: ...".
func sameRule(a, b string) bool {
	_, x, ok1 := strings.Cut(a, " > ")
	_, y, ok2 := strings.Cut(b, " > ")
	return ok1 && ok2 && x == y
}

// Messages are those of findings, each once: one dual-stack listener stands in
// the way of a mapping in both families.
func Messages(found []Finding) []string {
	var out []string
	for _, f := range found {
		if !slices.Contains(out, f.Message) {
			out = append(out, f.Message)
		}
	}
	return out
}

// findServiceAddr refuses a hostIP that belongs to a Service in ipvs mode: the
// rules spare those addresses, so the mapping could never work.
func findServiceAddr(r *Report, s Snapshot, m hostport.Mapping) {
	if m.Wildcard() {
		return
	}
	for _, l := range s.Local {
		if l.Infrastructure == hostport.IPVSLink && l.Prefix.Contains(m.HostIP) {
			r.refuse(Finding{Kind: Hidden, Mapping: m, Who: "a Service with the address " + m.HostIP.String(), At: both(Translation, PrioIptables), Dst: addrset.Between(m.HostIP, m.HostIP),
				Message: fmt.Sprintf("hostPort %s would not work: %s is the address of a Service (on %s); choose an address of the node", m, m.HostIP, hostport.IPVSLink)})
		}
	}
}
