// SPDX-License-Identifier: Apache-2.0

package node

import (
	"slices"
	"time"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/listener"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/rules"
)

// Look calls f with what the node is like as far as mappings matter, until one reading of
// the rules was consistent, at most for the time wait.
func (n *Node) Look(wait time.Duration, podLogs string, on *host.Addressing, ms []hostport.Mapping, f func(conflict.Snapshot) error) error {
	r := n.begun
	if n.begun = nil; r == nil || !slices.Equal(r.Mappings(), ms) {
		r = n.rules(rules.Options{Local: on.Local, Mappings: ms})
	}
	if n.backends != nil && n.backends.now != nil {
		r.TakeChains(n.backends.now)
	}
	printer := n.printer(wait)
	return rules.Steady(wait, r, func(r *rules.Reader) error {
		snap, err := n.snapshot(podLogs, on, ms, r)
		if err != nil {
			return err
		}
		snap.Print = printer
		return f(snap)
	})
}

// Begin begins to read what Look will need.
func (n *Node) Begin(on *host.Addressing, ms []hostport.Mapping) {
	n.begun = n.rules(rules.Options{Local: on.Local, Mappings: ms})
}

// snapshot is what the node is like, by one reading.
func (n *Node) snapshot(podLogs string, on *host.Addressing, ms []hostport.Mapping, r *rules.Reader) (snap conflict.Snapshot, err error) {
	snap = conflict.Snapshot{Local: on.Local, Broadcasts: on.Broadcasts, Sets: host.Sets{}}
	if snap.EphemeralFrom, snap.EphemeralTo, err = host.EphemeralPorts(); err != nil {
		return snap, err
	}
	if snap.Reserved, err = host.ReservedPorts(); err != nil {
		return snap, err
	}
	if snap.Programs, err = host.SocketPrograms(); err != nil {
		return snap, err
	}
	if snap.Servers, err = host.VirtualServers(); err != nil {
		return snap, err
	}
	if snap.Policy, err = host.RouteRules(); err != nil {
		return snap, err
	}
	if snap.Rulesets, err = r.Holders(); err != nil {
		return snap, err
	}
	// Sockets come last: a bind that was let through just before the ports were held has taken
	// them by now.
	sockets := listener.New(podLogs)
	sockets.Patience = n.Patience
	sockets.Bound = func(port uint16) bool { return n.bound[port] }
	if snap.Listeners, err = sockets.Read(ms); err != nil {
		return snap, err
	}
	snap.Flows, err = sockets.Flows(ms)
	return snap, err
}

// printer prints rules as their tools would. Those are started only for what is reported;
// without them a rule is shown as the kernel has it.
func (n *Node) printer(wait time.Duration) func(conflict.Rule) string {
	p, native := n.tools(wait).Printer(), nftconn.NewPrinter()
	return func(r conflict.Rule) string {
		if r.Flavour == "" {
			return native.Rule(r.Native, r.Chain, r.Handle)
		}
		if r.Flavour == string(iptables.NFT) {
			return p.RuleByHandle(r.Family, r.Table, r.Chain, r.Handle)
		}
		return p.Rule(iptables.Legacy, r.Family, r.Table, r.Chain, r.Index)
	}
}

func (n *Node) tools(wait time.Duration) *iptables.Tools {
	return &iptables.Tools{Wait: wait}
}
