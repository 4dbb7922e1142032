// SPDX-License-Identifier: Apache-2.0

// Package node is the machine that portguard runs on: it brings together what the
// packages at the edge read and change, as the verbs and the commands ask for it.
package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/portguard/portguard/pkg/backend/reservation"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inspect"
	"github.com/portguard/portguard/pkg/listener"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/plugin"
	"github.com/portguard/portguard/pkg/rules"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/walk"
)

// A Node is this machine, in the network namespace of the calling thread.
type Node struct {
	// Proc is where procfs is mounted.
	Proc string
	// Patience bounds the search for the processes that hold sockets.
	Patience time.Duration
	// conn is the one connection to nf_tables of a call: the kernel lets go of what was
	// removed before it closes one, so each would wait.
	conn *nftconn.Conn
	// begun is a reading that Begin has begun.
	begun *rules.Reader
	// backends is what the backends have read of iptables.
	backends *reading
	// into is where mappings were to go last.
	into string
	// bound are TCP ports that somebody had bound when they were to be held, or may have.
	bound map[uint16]bool
}

var (
	_ plugin.Node  = (*Node)(nil)
	_ inspect.Node = (*Node)(nil)
)

// New returns this machine.
func New() *Node { return &Node{Proc: "/proc", Patience: listener.Patience, conn: nftconn.Open()} }

// BootID tells this boot from others.
func (n *Node) BootID() string {
	b, _ := os.ReadFile(filepath.Join(n.Proc, "sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(b))
}

// Sight is what is seen of network namespaces from here.
func (n *Node) Sight() *state.Sight { return state.See(n.Proc) }

// Families are those the kernel has.
func (n *Node) Families() []hostport.Family {
	if host.HasIPv6() {
		all := hostport.Families()
		return all[:]
	}
	return []hostport.Family{hostport.IPv4}
}

// Addresses are what the node answers for.
func (n *Node) Addresses(also hostport.Links) (*host.Addressing, error) { return host.Addresses(also) }

// LinkTo is the link by which the node reaches a pod.
func (n *Node) LinkTo(pod netip.Addr) (walk.Link, error) { return host.LinkTo(pod) }

// RouteLocalnet reports whether a link forwards packets of 127.0.0.0/8.
func (n *Node) RouteLocalnet(link string) (bool, error) { return host.Sysctls{}.RouteLocalnet(link) }

// CalledAlone reports whether the runtime lets nobody else call plugins meanwhile.
func (n *Node) CalledAlone() bool { return listener.CalledAlone() }

// CallerBinds reports whether the runtime binds the ports itself when ADD is done.
func (n *Node) CallerBinds() bool { return listener.CallerBinds() }

// Holds reports why ports cannot be held against binds of others.
func (n *Node) Holds() error { return reservation.Possible() }

// LinkIndex is that of a link.
func (n *Node) LinkIndex(name string) (int, error) { return host.Links{}.Index(name) }

// LinkName is that of a link.
func (n *Node) LinkName(index int) (string, error) { return host.Links{}.Name(index) }

// DropUDP forgets UDP flows of a family.
func (n *Node) DropUDP(f hostport.Family, stale []host.Stale) error { return host.DropUDP(f, stale) }

// Links are all links, and the names of those that pods and containers are on.
func (n *Node) Links() (all []walk.Link, bridges []string, err error) { return host.Links{}.All() }

// Forwarding reports whether the node forwards packets of family f.
func (n *Node) Forwarding(f hostport.Family) (bool, error) { return host.Forwards(f) }

// BridgesFilter reports whether rules see what bridges forward.
func (n *Node) BridgesFilter() bool { return host.BridgesFilter() }

// EphemeralPorts is ip_local_port_range.
func (n *Node) EphemeralPorts() (from, to uint16, err error) { return host.EphemeralPorts() }

// ReservedPorts are the ranges of ip_local_reserved_ports.
func (n *Node) ReservedPorts() ([][2]uint16, error) { return host.ReservedPorts() }

// SocketPrograms are the BPF programs that choose sockets.
func (n *Node) SocketPrograms() (hostport.Programs, error) { return host.SocketPrograms() }

// RouteRules are the rules of policy routing that are asked before table local.
func (n *Node) RouteRules() ([]hostport.RouteRule, error) { return host.RouteRules() }
