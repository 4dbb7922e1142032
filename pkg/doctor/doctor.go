// SPDX-License-Identifier: Apache-2.0

// Package doctor says whether a node is fit for hostPorts, from what was seen of
// it. It is pure.
package doctor

import (
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
)

// A Severity says what to do about a finding.
type Severity string

// Info is how the node is; a Warning may become a problem; with a Problem some
// hostPort does not work, or will not.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Problem Severity = "problem"
)

// A Finding is one thing about the node. Its fields are the JSON output of
// "portguard doctor".
type Finding struct {
	// Check names the kind of finding; the names are stable.
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	// Remedy says what to do, "" for a mere info.
	Remedy string `json:"remedy,omitempty"`
}

// Facts are what was seen.
type Facts struct {
	// ConfDir is where the conflists are; Lists are those in it, in the order in
	// which runtimes look at them.
	ConfDir string
	ConfErr error
	Lists   []Conflist
	// Backend is where ADD would put mappings now, and Why; BackendErr is why it
	// could not.
	Backend, Why string
	BackendErr   error
	// StateErr is why a record could not be written.
	StateErr error
	// StateLoose says who else may write there, "" if nobody.
	StateLoose string
	// StateDisk is the file system that the records are on, "" if that is in memory.
	StateDisk string
	Proxies   Proxies
	Addresses Addresses
	// Misplaced are the shared parts of portguard's rules that are lost or in the
	// wrong place.
	Misplaced []string
	// Stranger is a table of portguard's name with nothing of portguard's, "" if
	// there is none.
	Stranger string
	List     inventory.List
	// Protected are the protectedPorts of Network.
	Protected []hostport.Ports
	Network   string
	// NoForwarding are the families that the node does not forward.
	NoForwarding []hostport.Family
	// EphemeralFrom and EphemeralTo are ip_local_port_range, Reserved
	// ip_local_reserved_ports.
	EphemeralFrom, EphemeralTo uint16
	Reserved                   [][2]uint16
	// Programs are the BPF programs that choose sockets, Policy the rules of routing that
	// are asked before table local.
	Programs hostport.Programs
	Policy   []hostport.RouteRule
	// Forsaken are ports that are held for no pod: an ADD was killed.
	Forsaken []hostport.Mapping
	// RefusedBinds are those of the last hour.
	RefusedBinds []inventory.Refusal
}

// A Conflist is a file that a runtime may load.
type Conflist struct {
	File string
	Err  error
	// Types are the plugins in order.
	Types []string
	// Capable is set if portguard's entry declares the capability portMappings.
	Capable bool
	// Invalid is what portguard says of its configuration.
	Invalid error
	// Unknown are keys that it ignores.
	Unknown []string
}

// Proxies are what was found of kube-proxy and others.
type Proxies struct {
	// Flavours are those of iptables that hold rules, KubeProxy those that hold
	// kube-proxy's, Hint the one that the kubelet names.
	Flavours, KubeProxy []string
	Hint                string
	// IPVS and Native are set for those modes of kube-proxy.
	IPVS, Native bool
	// CRIO is set if CRI-O maps hostPorts by itself.
	CRIO bool
}

// An adder notes a finding of a check, once: a port is there in two families.
type adder func(check string, s Severity, message, remedy string)

// Diagnose says all that is the matter, in the order of the checks.
func Diagnose(f Facts) []Finding {
	out := []Finding{}
	add := func(check string, s Severity, message, remedy string) {
		if f := (Finding{check, s, message, remedy}); !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	for _, check := range []func(Facts, adder){
		conflists, backend, flavours, implementers, stateDir, order, level, notOwn, mappings, forwarding, ways, protected, ephemeral,
		programs, policy, reservation, unread,
	} {
		check(f, add)
	}
	return out
}

// Fit reports whether no finding is a problem.
func Fit(found []Finding) bool {
	return !slices.ContainsFunc(found, func(f Finding) bool { return f.Severity == Problem })
}

// familyOf is that of an entry.
func familyOf(e inventory.Entry) hostport.Family { return hostport.FamilyOf(e.Address) }

// name says which mapping an entry is, and whose.
func name(e inventory.Entry) string {
	m := hostport.Mapping{Proto: e.Protocol, HostPort: e.Port}
	if !e.Address.IsUnspecified() {
		m.HostIP = e.Address
	}
	return "hostPort " + m.String() + " (" + familyOf(e).String() + ") of " + owner(e)
}

func owner(e inventory.Entry) string {
	if e.Pod != "" {
		return "pod " + e.Pod
	}
	return hostport.Owner{Network: e.Network, ContainerID: e.ContainerID}.Short()
}
