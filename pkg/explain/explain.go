// SPDX-License-Identifier: Apache-2.0

// Package explain says who has a claim on a port, in the order in which the
// kernel asks them, and who receives its packets. It is pure: what an ADD would
// find and the ways of packets are known.
package explain

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/way"
)

// A Question is one port of one protocol, on one address or on all.
type Question struct {
	HostIP netip.Addr     `json:"hostIP,omitzero"`
	Port   uint16         `json:"hostPort"`
	Proto  hostport.Proto `json:"protocol"`
}

// String returns "80/tcp" or "192.0.2.1:80/tcp".
func (q Question) String() string {
	return hostport.Mapping{HostIP: q.HostIP, Proto: q.Proto, HostPort: q.Port}.String()
}

// An Answer is all that is known of a port. The fields are the JSON output of
// "portguard explain".
type Answer struct {
	Question
	// Claimants come in the order in which the kernel asks them.
	Claimants []Claimant `json:"claimants"`
	// Outside, Localhost and Pod say who gets a packet from another machine, one
	// of the node's own for 127.0.0.1 or ::1 (or the address of the question), and
	// one from a pod of the node.
	Outside   []Outcome `json:"outside"`
	Localhost []Outcome `json:"localhost"`
	Pod       []Outcome `json:"pod"`
	// Foreign is set if the address of the question is none of the node's: then its
	// packets are not for a hostPort here, whatever is mapped, until it is.
	Foreign bool `json:"foreign,omitempty"`
	// Group says who has packets to broadcast and multicast addresses, "" where nobody asks and
	// nothing on the port would lead one to.
	Group string `json:"group,omitempty"`
	// RefusedBinds are those of others to the port while a mapping has it.
	RefusedBinds []inventory.Refusal `json:"refusedBinds,omitempty"`
	Decision     Decision            `json:"decision"`
}

// A Claimant is somebody who has a claim on the port.
type Claimant struct {
	// Kind is that of the finding (finding.Kind).
	Kind string `json:"kind"`
	Who  string `json:"who"`
	// Where is its rule, or what it listens on.
	Where string `json:"where"`
	// Addresses are those of the node that it is about, as single ones or ranges.
	Addresses []string `json:"addresses"`
	// Effect is what it means for a new hostPort: "refuses", "warns" or "none".
	Effect string `json:"effect"`
}

// An Outcome says who gets the packets to some addresses.
type Outcome struct {
	Addresses []string `json:"addresses"`
	// From tells those who send them, where others find another outcome: by their link.
	From []string `json:"from,omitempty"`
	// Kind is that of the claimant, "nobody" if the port is closed, or the way to it.
	Kind string `json:"kind"`
	Gets string `json:"gets"`
	// Unless are claimants that take some of the packets, or may.
	Unless []string `json:"unless,omitempty"`
	// Closed is what keeps them from whom they are for. Remedy is what to do about that, or about
	// the detour of their answers, or if they are unheard.
	Closed string `json:"closed,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	// Unheard says that nobody waits for them in the pod that gets them.
	Unheard string `json:"unheard,omitempty"`
	// Detour is the link by which answers leave, if it is not that of the packets and should be.
	Detour string `json:"detour,omitempty"`
	// Masked is what makes the pod see an address of the node as the client.
	Masked string `json:"masked,omitempty"`
}

// A Decision is what an ADD of this hostPort would do now.
type Decision struct {
	Allowed bool `json:"allowed"`
	// Code is that of the CNI error of a refusal.
	Code     uint     `json:"code,omitempty"`
	Refusals []string `json:"refusals,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Ways are those of packets to the port, of each side.
type Ways struct{ Outside, Localhost, Pod []way.Way }

// New answers a question by what an ADD would find, and by the ways of packets.
func New(q Question, all conflict.Report, w Ways) Answer {
	return Answer{
		Question:  q,
		Group:     group(q, all.All()),
		Claimants: claimants(all),
		Outside:   outcomes(w.Outside),
		Localhost: outcomes(w.Localhost),
		Pod:       outcomes(w.Pod),
		Decision:  decide(all),
	}
}

func decide(r conflict.Report) Decision {
	d := Decision{Allowed: len(r.Conflicts) == 0, Refusals: conflict.Messages(r.Conflicts), Warnings: conflict.Messages(r.Warnings)}
	if !d.Allowed {
		d.Code = uint(r.Conflicts[0].Kind)
	}
	return d
}

// claimants lists everybody once, even who is in both families.
func claimants(r conflict.Report) []Claimant {
	out := []Claimant{}
	effect := map[string]string{}
	for _, f := range r.Conflicts {
		effect[f.Message] = "refuses"
	}
	for _, f := range r.Warnings {
		effect[f.Message] = "warns"
	}
	for _, f := range way.Sorted(r.All(), "") {
		c := Claimant{Kind: f.Kind.String(), Who: f.Who, Where: f.Where, Addresses: ranges(f.Dst), Effect: cmp.Or(effect[f.Message], "none")}
		i := slices.IndexFunc(out, func(o Claimant) bool { return o.Kind == c.Kind && o.Who == c.Who && o.Where == c.Where })
		if i < 0 {
			out = append(out, c)
			continue
		}
		for _, a := range c.Addresses {
			if !slices.Contains(out[i].Addresses, a) {
				out[i].Addresses = append(out[i].Addresses, a)
			}
		}
	}
	return out
}

// ranges writes a set as single addresses and ranges.
func ranges(s addrset.Set) []string {
	out := []string{}
	for _, span := range s {
		out = append(out, addrset.Set{span}.String())
	}
	return out
}
