// SPDX-License-Identifier: Apache-2.0

// Package explain says who has a claim on a port, in the order in which the
// kernel asks them, and who receives its packets. It is pure: what is known of
// the node are the reports on which an ADD would decide.
package explain

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
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
	Foreign  bool     `json:"foreign,omitempty"`
	Decision Decision `json:"decision"`
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
	// Kind is that of the claimant, "nobody" if the port is closed.
	Kind string `json:"kind"`
	Gets string `json:"gets"`
	// Unless are claimants that take some of the packets, or may.
	Unless []string `json:"unless,omitempty"`
}

// A Decision is what an ADD of this hostPort would do now.
type Decision struct {
	Allowed bool `json:"allowed"`
	// Code is that of the CNI error of a refusal.
	Code     uint     `json:"code,omitempty"`
	Refusals []string `json:"refusals,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Reports are what an ADD would find: asking for all packets, and for those of
// each side alone.
type Reports struct {
	All, Outside, Localhost, Pod conflict.Report
}

// New answers a question. Own are the node's addresses that others can send to,
// loopback those that only the node itself can.
func New(q Question, r Reports, own, loopback []netip.Addr) Answer {
	switch {
	case !q.HostIP.IsValid():
	case q.HostIP.IsUnspecified():
		other := func(a netip.Addr) bool { return a.Is4() != q.HostIP.Is4() }
		own, loopback = slices.DeleteFunc(slices.Clone(own), other), slices.DeleteFunc(slices.Clone(loopback), other)
	default:
		loopback = []netip.Addr{q.HostIP}
		if own = loopback; q.HostIP.IsLoopback() {
			own = nil
		}
	}
	return Answer{
		Question:  q,
		Claimants: claimants(r.All),
		Outside:   outcomes(r.Outside, walk.Prerouting, own),
		Localhost: outcomes(r.Localhost, walk.Output, loopback),
		Pod:       outcomes(r.Pod, walk.Prerouting, own),
		Decision:  decide(r.All),
	}
}

func decide(r conflict.Report) Decision {
	d := Decision{Allowed: len(r.Conflicts) == 0, Refusals: conflict.Messages(r.Conflicts), Warnings: conflict.Messages(r.Warnings)}
	if !d.Allowed {
		d.Code = uint(r.Conflicts[0].Kind)
	}
	return d
}

// claimants lists everybody once, be it in both families.
func claimants(r conflict.Report) []Claimant {
	out := []Claimant{}
	effect := map[string]string{}
	for _, f := range r.Conflicts {
		effect[f.Message] = "refuses"
	}
	for _, f := range r.Warnings {
		effect[f.Message] = "warns"
	}
	for _, f := range sorted(all(r), "") {
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

func all(r conflict.Report) []conflict.Finding {
	return slices.Concat(r.Conflicts, r.Warnings, r.Beside)
}

// sorted are the findings in the order of the points at which they are asked at
// hook, or at any. At one point a mapping of portguard's is behind the rules, and
// one for a single address before one for all.
func sorted(found []conflict.Finding, hook walk.Hook) []conflict.Finding {
	first := func(f conflict.Finding) conflict.Point {
		at := slices.DeleteFunc(slices.Clone(f.At), func(p conflict.Point) bool { return hook != "" && p.Hook != hook })
		if len(at) == 0 {
			return conflict.Point{}
		}
		return slices.MinFunc(at, conflict.Point.Compare)
	}
	rank := func(f conflict.Finding) int {
		switch {
		case f.Kind != finding.Claimed:
			return 0
		case len(f.Dst) == 1 && f.Dst[0].Lo == f.Dst[0].Hi:
			return 1
		}
		return 2
	}
	sort.SliceStable(found, func(i, j int) bool {
		a, b := found[i], found[j]
		return cmp.Or(first(a).Compare(first(b)), cmp.Compare(rank(a), rank(b))) < 0
	})
	return found
}

// ranges writes a set as single addresses and ranges.
func ranges(s addrset.Set) []string {
	out := []string{}
	for _, span := range s {
		out = append(out, addrset.Set{span}.String())
	}
	return out
}
