// SPDX-License-Identifier: Apache-2.0

// Package finding is the table of what portguard can find in the way of a hostPort, and
// of the codes of its own errors. It is pure.
package finding

import "fmt"

// A Kind is what was found. Its value is the code of the CNI error (codes from 100 up are
// the plugin's own).
type Kind uint

const (
	// Listener means that a process of the node listens there.
	Listener Kind = 100
	// Claimed means that a live attachment of portguard has the port.
	Claimed Kind = 101
	// NodePort means that kube-proxy has a Service with this NodePort, even without
	// endpoints.
	NodePort Kind = 102
	// NATRule means that somebody else's rule translates the traffic (docker,
	// portmap, CRI-O, a rule made by hand).
	NATRule Kind = 103
	// Undecodable means that a rule that cannot be decided names the port, or comes after
	// ours.
	Undecodable Kind = 104
	// Hidden means that a rule or a policy keeps packets from ours, or from the pod behind it, or
	// answers from going back, so that the mapping could not work.
	Hidden Kind = 105
	// ServiceIP means that a Service has a node address as LoadBalancer or
	// external IP. It wins by order.
	ServiceIP Kind = 106
	// Ephemeral means an unconnected UDP socket in the ephemeral range, which
	// may be a mere client.
	Ephemeral Kind = 107
	// CatchAll means a rule without a port of its own that may take the traffic.
	CatchAll Kind = 108

	// Unreadable is the code of an error: something on the node could not be read, so
	// the port cannot be called free.
	Unreadable Kind = 109
	// NotAsInstalled is the code of an error: CHECK found that something is lost.
	NotAsInstalled Kind = 110
	// Apply is the code of an error: the rules could not be changed; they are as before.
	Apply Kind = 111

	// Protected means that the configuration keeps the port from every pod.
	Protected Kind = 112
	// SocketProgram means that a BPF program chooses the sockets of the node, for ports that
	// nobody can ask it for.
	SocketProgram Kind = 113
	// PolicyRoute means that policy routing leads the traffic elsewhere, although it is to an
	// address of the node.
	PolicyRoute Kind = 114
)

// A Severity is what a finding means for a request.
type Severity uint8

const (
	// Refuse refuses the request.
	Refuse Severity = iota
	// Warn lets it be, and tells about it.
	Warn
	// Note takes nothing from the request; only who asks is told.
	Note
)

// A Row is all that is said about a kind in general.
type Row struct {
	Kind Kind
	// Name is what outputs for programs call it; it is stable.
	Name     string
	Severity Severity
	// Translates is set for rules that translate the traffic, or may.
	Translates bool
	// Remedy says what to do about it, unless the finding itself knows better.
	Remedy string
}

// Table are the kinds that are found, in the order of their codes.
func Table() []Row {
	return []Row{
		{Listener, "listener", Refuse, false, "stop it or choose another hostPort"},
		{Claimed, "hostPort", Refuse, false, "delete it or choose another hostPort"},
		{NodePort, "nodePort", Refuse, true, "change the Service's nodePort or choose another hostPort"},
		{NATRule, "natRule", Refuse, true, "remove that rule or choose another hostPort"},
		{Undecodable, "undecodable", Refuse, true, "remove that rule or choose another hostPort"},
		{Hidden, "hidden", Refuse, false, "remove that rule or restrict it"},
		{ServiceIP, "serviceIP", Warn, true, "choose another hostPort if it should not"},
		{Ephemeral, "ephemeral", Warn, false, "if it is a server, stop it or choose another hostPort"},
		{CatchAll, "catchAll", Warn, true, "restrict that rule if it should not"},
		{Protected, "protected", Refuse, false, "choose another hostPort"},
		{SocketProgram, "socketProgram", Refuse, false, `detach it, or set conflictPolicy to "warn" if it leaves hostPorts alone`},
		{PolicyRoute, "policyRoute", Refuse, false, "restrict that rule or choose another hostPort"},
	}
}

// Errors are the kinds that are no finding but an error of the plugin.
func Errors() []Row {
	return []Row{
		{Kind: Unreadable, Name: "unreadable"},
		{Kind: NotAsInstalled, Name: "notAsInstalled"},
		{Kind: Apply, Name: "apply"},
	}
}

// Reasons are all names that a failed ADD is counted by.
func Reasons() []string {
	out := []string{Unreadable.String(), Apply.String(), "busy", "configuration", "state"}
	for _, r := range Table() {
		out = append(out, r.Name)
	}
	return out
}

// Row is the row of a kind.
func (k Kind) Row() Row {
	for _, rows := range [][]Row{Table(), Errors()} {
		for _, r := range rows {
			if r.Kind == k {
				return r
			}
		}
	}
	return Row{Kind: k, Name: fmt.Sprintf("kind-%d", uint(k))}
}

// String is the kind's name.
func (k Kind) String() string { return k.Row().Name }

// Translates reports whether what was found is a rule that may translate.
func (k Kind) Translates() bool { return k.Row().Translates }

// Remedy says what to do about it.
func (k Kind) Remedy() string { return k.Row().Remedy }
