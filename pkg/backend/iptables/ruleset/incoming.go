// SPDX-License-Identifier: Apache-2.0

package ruleset

import "strings"

// socket finds the socket that a packet is for, also one in TIME_WAIT or SYN_RECV, but for
// one that is bound to all addresses (net/netfilter/xt_socket.c). It works only where
// packets come in.
const socket = "-m socket"

// incomingRules lead what comes in to the hostPorts, but for packets of the node's own
// connections, which conntrack may have forgotten. A kernel without the match has the rule
// without it, which Canonical, and so rule.same, does not tell apart.
func incomingRules() []*rule {
	own := strings.Fields("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN " + socket)
	tail := []string{"-m", "comment", "--comment", sharedComment, "-j"}
	return []*rule{newRule(append(append(own, tail...), "RETURN")...), newRule(append(tail, hostports)...)}
}

// settleIncoming makes the chain of what comes in fit: it is there with the hostPorts.
func (l *Layout) settleIncoming() {
	if _, used := l.chains[hostports]; !used {
		delete(l.chains, incoming)
	} else if want := incomingRules(); !sameRules(l.chains[incoming], want) {
		l.chains[incoming] = want
	}
}

// WithoutSockets is a script for a kernel that cannot look for sockets. There nothing is
// translated but what begins a connection: connections of pods end when conntrack forgets
// them, those of the node do not.
func WithoutSockets(script string) string { return strings.ReplaceAll(script, " "+socket+" ", " ") }
