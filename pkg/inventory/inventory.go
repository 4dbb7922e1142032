// SPDX-License-Identifier: Apache-2.0

// Package inventory is the list of a node's hostPorts, as people and programs
// read it. It is pure.
package inventory

import (
	"cmp"
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/way"
)

// A State says what is the matter with a mapping.
type State string

// The states. Of several the last one that holds is told.
const (
	OK State = "ok"
	// Closed: nothing from outside gets to the pod, or no answer back; Reason says where it is
	// lost.
	Closed State = "closed"
	// Waiting: another attachment has the port, an interface of the same container as a
	// rule, and this one takes over when that goes.
	Waiting State = "waiting"
	// Absent: the hostIP is none of the node's addresses now.
	Absent State = "waiting for its address"
	// Shadowed: two have a claim on the port since somebody came later. Either
	// somebody else's rule takes the pod's traffic, or a listener gets nothing
	// because the mapping is asked first; Reason says which.
	Shadowed State = "shadowed"
	// Missing: the rules of a live pod are gone, or not where they belong any more; Reason says
	// which.
	Missing State = "missing"
	// Dead: the network namespace of the owner is gone.
	Dead State = "owner dead"
	// Unknown: nobody can tell from here whether the owner lives.
	Unknown State = "unknown"
)

// A List is what was found. Its fields are the JSON output of "portguard list".
type List struct {
	HostPorts   []Entry     `json:"hostPorts"`
	Reservation Reservation `json:"reservation"`
	// RefusedBinds are those to ports of live mappings, the last one first.
	RefusedBinds []Refusal `json:"refusedBinds,omitempty"`
	// Notes say what could not be read.
	Notes []string `json:"notes,omitempty"`
}

// A Reservation says whether binds of others to hostPorts are refused.
type Reservation struct {
	On bool `json:"on"`
	// Reason is why not.
	Reason string `json:"reason,omitempty"`
}

// A Refusal is what is remembered of refused binds to one port.
type Refusal struct {
	Port     uint16         `json:"port"`
	Protocol hostport.Proto `json:"protocol"`
	Count    uint64         `json:"count"`
	// Address is where the last one was to, Last when; Command and PID are who tried it. PID is
	// left out where the kernel does not tell.
	Address netip.Addr `json:"address"`
	Last    time.Time  `json:"last"`
	Command string     `json:"command"`
	PID     int        `json:"pid,omitempty"`
	// Pod is "pod namespace/name" of who tried it, as long as that is there.
	Pod string `json:"pod,omitempty"`
	// Holders have the port.
	Holders []string `json:"holders"`
}

// NewRefusal is a refusal, with what the pod of the process and the holders are called.
func NewRefusal(r hostport.Refusal, pod string, holders []string) Refusal {
	return Refusal{Port: r.Port, Protocol: r.Proto, Count: r.Count, Address: r.Addr, Last: r.Last, Command: r.Command, PID: r.PID, Pod: pod, Holders: holders}
}

// String says who wanted a port and who has it.
func (r Refusal) String() string {
	who, often := cmp.Or(r.Command, "a process"), "once"
	var known []string
	if r.PID != 0 {
		known = append(known, fmt.Sprintf("pid %d", r.PID))
	}
	if r.Pod != "" {
		known = append(known, r.Pod)
	}
	if len(known) > 0 {
		who += " (" + strings.Join(known, ", ") + ")"
	}
	if r.Count > 1 {
		often = fmt.Sprintf("%d times", r.Count)
	}
	return fmt.Sprintf("%s holds %d/%s; a bind was refused %s, last to %s, which wanted %s at %s",
		strings.Join(r.Holders, " and "), r.Port, r.Protocol, often, who, netip.AddrPortFrom(r.Address, r.Port), r.Last.Format(time.DateTime))
}

// An Entry is one mapping of one family.
type Entry struct {
	// By is "portguard" or "portmap".
	By string `json:"by"`
	// Address is 0.0.0.0 or :: for all addresses of the node.
	Address  netip.Addr     `json:"address"`
	Port     uint16         `json:"port"`
	Protocol hostport.Proto `json:"protocol"`
	// Pod is "namespace/name", "" if it is not known.
	Pod         string `json:"pod"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifName,omitempty"`
	// Target is the pod's address; the port is 0 if only nft could read it.
	Target  netip.AddrPort `json:"target,omitzero"`
	Network string         `json:"network"`
	// Backend is "nftables", "iptables-nft" or "iptables-legacy".
	Backend string `json:"backend"`
	// Created is when the ADD was, zero if there is no record.
	Created time.Time `json:"created,omitzero"`
	// Reserved is set if binds of others to it are refused.
	Reserved bool `json:"reserved"`
	// Packets is how many packets met the rule: the first of each connection. It
	// is nil where nobody counts.
	Packets *uint64 `json:"packets,omitempty"`
	State   State   `json:"state"`
	// Reason says more about a state other than ok.
	Reason string `json:"reason,omitempty"`
	// Remedy is what to do about who has the port too.
	Remedy string `json:"-"`
	// Ways are those of packets from outside.
	Ways []way.Way `json:"-"`
}

// New is the entry of a mapping.
func New(by string, c hostport.Claim) Entry {
	o, m := c.Owner, c.Mapping
	e := Entry{
		By: by, Address: m.HostIP, Port: m.HostPort, Protocol: m.Proto, Target: c.Target, Backend: c.Backend, State: OK,
		Pod: o.Pod(), ContainerID: o.ContainerID, IfName: o.IfName, Network: o.Network,
	}
	if m.Wildcard() {
		e.Address = m.Family.Wildcard()
	}
	if c.Packets >= 0 {
		n := uint64(c.Packets)
		e.Packets = &n
	}
	return e
}

// Owned notes whether the owner lives.
func (e *Entry) Owned(life hostport.Life, unsure string) {
	switch life {
	case hostport.Alive:
	case hostport.Dead:
		e.State, e.Reason = Dead, "its network namespace is gone"
	case hostport.Unknown:
		e.State, e.Reason = Unknown, "nobody can tell from here whether it lives: "+unsure
	}
}

// Sort orders the entries by port, protocol and address.
func Sort(entries []Entry) {
	sort.SliceStable(entries, func(i, j int) bool { // SortStableFunc is 10 KB for each type
		a, b := entries[i], entries[j]
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), a.Address.Compare(b.Address), cmp.Compare(a.By, b.By)) < 0
	})
}
