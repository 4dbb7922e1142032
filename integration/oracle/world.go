// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/portguard/portguard/integration/lab"
)

// The world the rules and probes are drawn from is small, so that every
// condition a rule can have is met by some probe.
const (
	port = 8080
	// Where generated rules send packets to, and what they write into them.
	redirected = 9998
	portToo    = 9999
	rewritten  = 9997
)

// A side is one link between node and client, with the addresses of both ends.
type side struct {
	link string
	node []string
	peer []string
}

func sides() []side {
	return []side{
		{"eth0", []string{"192.0.2.1/24", "2001:db8:2::1/64"}, []string{"192.0.2.2/24", "192.0.2.77/24", "2001:db8:2::2/64", "2001:db8:2::77/64"}},
		{"ens1", []string{"198.51.100.1/24", "2001:db8:3::1/64"},
			// The last of each family has none of the bytes and networks that rules ask for, the
			// one before it is of one network and has the bytes of another.
			[]string{"198.51.100.2/24", "10.1.1.1/32", "10.0.2.2/32", "172.45.67.89/32",
				"2001:db8:3::2/64", "fd00::5/128", "fd00:db8:2::2/128", "2a0b:1c2d:3e4f:5a6b:7c8d:9eaf:b1c2:d3e4/128"}},
	}
}

// sources are all addresses that a packet may carry: the client's, the node's
// own (spoofed from outside), and loopback.
func sources(is4 bool) []netip.Addr {
	return append(append(peerAddrs(is4), nodeAddrs(is4)...), loopback(is4))
}

func addrs(list []string, is4 bool) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		if a := netip.MustParsePrefix(s).Addr(); a.Is4() == is4 {
			out = append(out, a)
		}
	}
	return out
}

// nodeAddrs are the node's addresses of one family, without loopback.
func nodeAddrs(is4 bool) []netip.Addr {
	var out []netip.Addr
	for _, s := range sides() {
		out = append(out, addrs(s.node, is4)...)
	}
	return out
}

// peerAddrs are the client's.
func peerAddrs(is4 bool) []netip.Addr {
	var out []netip.Addr
	for _, s := range sides() {
		out = append(out, addrs(s.peer, is4)...)
	}
	return out
}

func loopback(is4 bool) netip.Addr {
	if is4 {
		return netip.MustParseAddr("127.0.0.1")
	}
	return netip.IPv6Loopback()
}

// A World is a node and a client with two links between them.
type World struct {
	Node, Client *lab.Netns
	// legacy are the families (IPv6: true) whose legacy nat table has been used.
	// It keeps its hooks as long as the namespace lives.
	legacy map[bool]bool
	// rewrites is set if rules that are loaded write into packets.
	rewrites bool
	// lengths is set if they ask for the length of packets, or for headers before the last.
	lengths bool
	// headers are those that they ask for.
	headers []header
	// counts is set if they count packets, so that the same ones do not meet them again.
	counts bool
	// halves is set if they count packets and take some out of conntrack, so that a connection may
	// be known by its second packet only.
	halves bool
	// behind is set if they drop some of what is translated.
	behind   bool
	lastPort int
	flows    *flows
	// sockets are those that wait on the port, or server does for TCP.
	sockets []*Socket
	server  io.Closer
	scope   *scope
}

// A scope is a test within the test, so that a world can end before it.
type scope struct {
	lab.T
	undo []func()
}

// Cleanup keeps f for close.
func (s *scope) Cleanup(f func()) { s.undo = append(s.undo, f) }

func (s *scope) close() {
	for len(s.undo) > 0 {
		last := len(s.undo) - 1
		s.undo[last]()
		s.undo = s.undo[:last]
	}
}

// renew makes the world anew if the sets want to register something before a
// legacy table that is there already.
func (w *World) renew(t lab.T, sets []Set) {
	t.Helper()
	for i, s := range sets {
		if i > 0 && s.Flavour == "legacy" && w.legacy[s.V6] {
			w.scope.close()
			w.build(t)
			return
		}
	}
}

// NewWorld makes the namespaces. Packets with DSCP 8 get the mark of the oracle
// before any nat chain sees them, so that a client can send marked packets.
func NewWorld(t lab.T) *World {
	t.Helper()
	w := &World{}
	w.build(t)
	t.Cleanup(func() { w.scope.close() })
	return w
}

func (w *World) build(t lab.T) {
	t.Helper()
	w.scope, w.legacy = &scope{T: t}, map[bool]bool{}
	w.Node, w.Client = lab.NewNetns(w.scope, "onode"), lab.NewNetns(w.scope, "oclient")
	for _, s := range sides() {
		w.Node.Run("ip", "link", "add", s.link, "type", "veth", "peer", "name", s.link, "netns", w.Client.Name)
		for _, a := range s.node {
			w.Node.Run("ip", "addr", "add", a, "dev", s.link, "nodad")
		}
		for _, a := range s.peer {
			w.Client.Run("ip", "addr", "add", a, "dev", s.link, "nodad")
		}
		w.Node.Run("ip", "link", "set", s.link, "up")
		w.Client.Run("ip", "link", "set", s.link, "up")
	}
	w.routes()
	w.Node.Sysctl("net/ipv4/ip_forward", "1")
	w.Node.Sysctl("net/ipv6/conf/all/forwarding", "1")
	for _, c := range []string{"all", "eth0", "ens1", "default"} {
		w.Node.Sysctl("net/ipv4/conf/"+c+"/rp_filter", "0")
		w.Node.Sysctl("net/ipv4/conf/"+c+"/route_localnet", "1")
		w.Node.Sysctl("net/ipv4/conf/"+c+"/accept_local", "1")
		w.Client.Sysctl("net/ipv4/conf/"+c+"/route_localnet", "1")
		w.Client.Sysctl("net/ipv4/conf/"+c+"/rp_filter", "0")
	}
	w.Node.Feed(marker, "nft", "-f", "-")
	w.Node.Feed(strings.Join(IPSets(), "\n")+"\n", "ipset", "restore")
	for _, port := range []int{redirected, portToo} {
		w.Node.ServeTCP("tcp", fmt.Sprintf(":%d", port), "redirected")
	}
	var err error
	w.Node.Do(func() { w.flows, err = listen() })
	if err != nil {
		t.Fatalf("conntrack: %v", err)
	}
	w.scope.Cleanup(w.flows.close)
}

// routes lets the client reach every node address over both links, and the node
// send translated packets somewhere.
func (w *World) routes() {
	for i, s := range sides() {
		peer := sides()[1-i]
		for _, a := range append(addrs(peer.node, true), addrs(peer.node, false)...) {
			fam := "-4"
			if a.Is6() {
				fam = "-6"
			}
			w.Client.Run("ip", fam, "route", "add", a.String(), "dev", s.link, "metric", "4000")
			// The node answers for an IPv6 address only on the link it is on.
			w.Client.Run("ip", "neigh", "replace", a.String(), "lladdr", w.mac(s.link), "dev", s.link, "nud", "permanent")
		}
	}
	w.Node.Run("ip", "route", "add", "default", "via", "192.0.2.2")
	w.Node.Run("ip", "-6", "route", "add", "default", "via", "2001:db8:2::2")
	w.Client.Run("ip", "route", "add", "blackhole", "203.0.113.0/24")
	w.Client.Run("ip", "-6", "route", "add", "blackhole", "2001:db8:9::/64")
}

// mac is the address of the node's end of a link.
func (w *World) mac(link string) string {
	f := strings.Fields(w.Node.Run("ip", "-br", "link", "show", link))
	if len(f) < 3 {
		w.Node.T.Fatalf("no address of %s: %q", link, f)
	}
	return f[2]
}

const marker = `table inet oraclemark {
	chain in { type filter hook prerouting priority -280; ip dscp 8 meta mark set 1; ip6 dscp 8 meta mark set 1; }
	chain out { type route hook output priority -280; ip dscp 8 meta mark set 1; ip6 dscp 8 meta mark set 1; }
	set moved { type inet_proto . inet_service; flags dynamic; size 65535; }
	chain rewritten {
		tcp dport 9997 ct original proto-dst 8080 add @moved { meta l4proto . tcp sport }
		udp dport 9997 ct original proto-dst 8080 add @moved { meta l4proto . udp sport }
	}
	chain prerouting { type filter hook prerouting priority 1000; jump rewritten; }
	chain input { type filter hook input priority 1000; jump rewritten; }
	chain output { type filter hook output priority 1000; jump rewritten; }
}
`
