// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/portguard/portguard/integration/lab"
)

// forget empties conntrack, as an idle hour does.
func forget(t *testing.T, n *lab.Netns) {
	t.Helper()
	var err error
	n.Do(func() { err = netlink.ConntrackTableFlush(netlink.ConntrackTable) })
	if err != nil {
		t.Fatal(err)
	}
}

// listenOn is a listener that the test itself accepts from.
func listenOn(t *testing.T, n *lab.Netns, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	var err error
	n.Do(func() { l, err = net.Listen("tcp", addr) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// connect opens a connection from an address to a listener, and returns both its ends.
func connect(t *testing.T, n *lab.Netns, from string, l net.Listener, to string) (near, far net.Conn) {
	t.Helper()
	var err error
	n.Do(func() {
		d := net.Dialer{Timeout: 5 * time.Second}
		if d.LocalAddr, err = net.ResolveTCPAddr("tcp", from); err == nil {
			near, err = d.Dial("tcp", to)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// A flow is one of the node's own, with both its ends.
type flow struct {
	name       string
	node, peer net.Conn
}

// works wants bytes to arrive at both ends, the first of them sent by the peer.
func (f flow) works(t *testing.T, when string) {
	t.Helper()
	want(t, when+": what the node receives on "+f.name, lab.Exchange(f.peer, f.node, "to the node"), "to the node")
	want(t, when+": what the node sent on "+f.name, lab.Exchange(f.node, f.peer, "from the node"), "from the node")
}

// echo answers whatever comes on every connection, with a name.
func echo(t *testing.T, pod *lab.Pod, port int) {
	t.Helper()
	l := listenOn(t, pod.Netns, fmt.Sprintf(":%d", port))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go func() {
				b := make([]byte, 100)
				for {
					k, err := c.Read(b)
					if err != nil {
						return
					}
					fmt.Fprintf(c, "web %s\n", b[:k])
				}
			}()
		}
	}()
}

// nodeAndClient are the addresses of both, family by family.
func nodeAndClient() [][2]string {
	return [][2]string{{lab.NodeV4, lab.ClientV4}, {lab.NodeV6, lab.ClientV6}}
}

// ownTCP are connections of the node from port 41000, and some that it accepted at 8443 of a
// listener that has closed.
func ownTCP(t *testing.T, n *lab.Node) (out []flow) {
	t.Helper()
	server, closing := listenOn(t, n.Client, ":443"), listenOn(t, n.Netns, ":8443")
	for _, a := range nodeAndClient() {
		node, peer := connect(t, n.Netns, net.JoinHostPort(a[0], "41000"), server, net.JoinHostPort(a[1], "443"))
		out = append(out, flow{"a connection from " + a[0], node, peer})
		peer, node = connect(t, n.Client, net.JoinHostPort(a[1], "0"), closing, net.JoinHostPort(a[0], "8443"))
		out = append(out, flow{"one accepted at " + a[0], node, peer})
	}
	closing.Close()
	return out
}

// The node's own connections stay its own, whatever conntrack knows of them, and others
// reach the pod by the same port.
func TestOwnConnections(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		t.Parallel()
		own := ownTCP(t, n)
		pod := n.NewPod("web")
		echo(t, pod, 80)
		list := n.Network("net", "46", lab.Conf{"reserve": "off"}) // somebody listens later
		before := n.Rules()
		ports := []lab.Port{lab.TCP(41000, 80), lab.TCP(8443, 80), lab.TCP(8080, 80), lab.TCP(8081, 80).On(lab.NodeV4)}
		n.MustAdd(pod, list, ports...) // it begins to track connections
		var pods []net.Conn
		for _, to := range []string{lab.NodeV4 + ":8080", "[" + lab.NodeV6 + "]:8080"} {
			pods = append(pods, n.Client.Open("tcp", to))
		}
		works := func(when string) {
			t.Helper()
			for _, f := range own {
				f.works(t, when)
			}
			for _, c := range pods { // picked up again, as ever
				want(t, when+": a connection of the pod", lab.Ask(c), "web who")
			}
			for _, a := range nodeAndClient() {
				for _, port := range []string{"41000", "8443", "8080"} {
					want(t, when+": a new connection to "+port, n.Client.Who("tcp", net.JoinHostPort(a[0], port)), "web")
				}
			}
			want(t, when+": a new connection to one address", n.Client.Who("tcp", lab.NodeV4+":8081"), "web")
		}
		works("after ADD")
		forget(t, n.Netns)
		works("when conntrack forgets")
		// Runtimes keep ports of containers open.
		listenOn(t, n.Netns, "0.0.0.0:8080")
		listenOn(t, n.Netns, "[::]:8443")
		listenOn(t, n.Netns, lab.NodeV4+":8081")
		forget(t, n.Netns)
		works("while somebody listens")
		if err := n.Del(pod, list, ports...); err != nil {
			t.Fatal(err)
		}
		for _, f := range own {
			f.works(t, "after DEL")
		}
		unchanged(t, n, before)
	})
}

// ownUDP are connected sockets of the node at port 41000, and one that talks to another
// of the node's.
func ownUDP(t *testing.T, n *lab.Node) (out []flow) {
	t.Helper()
	pair := func(name string, peer *lab.Netns, at, of string) {
		// Of a socket that is not connected the kernel would not know whose the packets are.
		out = append(out, flow{name, n.OpenFrom("udp", at, of), peer.OpenFrom("udp", of, at)})
	}
	for _, a := range nodeAndClient() {
		pair("a UDP socket of "+a[0], n.Client, net.JoinHostPort(a[0], "41000"), net.JoinHostPort(a[1], "443"))
		pair("a UDP socket of the node to itself at "+a[0], n.Netns, net.JoinHostPort(a[0], "8053"), net.JoinHostPort(a[0], "5300"))
	}
	pair("a UDP socket at localhost", n.Netns, "127.0.0.1:8053", "127.0.0.1:5300")
	pair("a UDP socket at one address", n.Client, lab.NodeV4+":8054", lab.ClientV4+":444")
	return out
}

// Connected UDP sockets of the node keep what their peers send, and others reach the pod
// by the same port, whoever else has a socket there that is not connected.
func TestOwnConnectedUDP(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		t.Parallel()
		own := ownUDP(t, n)
		pod := n.NewPod("web")
		pod.ServeUDP("udp", ":80", "web")
		list := n.Network("net", "46", lab.Conf{"reserve": "off"})
		confDir(t, n, list)
		before := n.Rules()
		ports := []lab.Port{lab.UDP(41000, 80), lab.UDP(8053, 80), lab.UDP(8054, 80).On(lab.NodeV4), lab.UDP(8055, 80), lab.UDP(8056, 80).On(lab.NodeV4)}
		n.MustAdd(pod, list, ports...)
		works := func(when string) {
			t.Helper()
			forget(t, n.Netns)
			for _, f := range own {
				f.works(t, when)
			}
			for _, a := range nodeAndClient() {
				for _, port := range []string{"41000", "8053"} {
					want(t, when+": a new flow to "+port, n.Client.Who("udp", net.JoinHostPort(a[0], port)), "web")
				}
			}
			for _, port := range []string{"8054", "8055", "8056"} {
				want(t, when+": a new flow to "+port, n.Client.Who("udp4", lab.NodeV4+":"+port), "web")
			}
			if err := n.Check(pod, list, ports...); err != nil {
				t.Errorf("%s: CHECK: %v", when, err)
			}
		}
		works("after ADD")
		every, one := n.ServeUDP("udp4", "0.0.0.0:8055", "a listener"), n.ServeUDP("udp4", lab.NodeV4+":8056", "a listener") // as runtimes keep open for containers
		works("while somebody has the port too")
		every.Close()
		one.Close()
		n.Run("nft", "flush", "ruleset")
		if n.Flavour == "legacy" {
			n.Iptables("", "-t nat -F")
			n.Iptables("6", "-t nat -F")
		}
		if out, err := cli(n, "restore"); err != nil || !strings.Contains(out, "restored pod default/web") {
			t.Errorf("restore: %v %q", err, out)
		}
		works("after restore")
		if err := n.Del(pod, list, ports...); err != nil {
			t.Fatal(err)
		}
		forget(t, n.Netns)
		for _, f := range own {
			f.works(t, "after DEL")
		}
		if rules := n.Rules(); strings.Contains(rules, "portguard") {
			t.Errorf("rules are left, before there were\n%s\nnow\n%s", before, rules)
		}
	})
}

// Conditions choose among what is nobody's.
func TestOwnFlowsUnderConditions(t *testing.T) {
	for backend, conditions := range map[string]string{"iptables": "-s " + lab.ClientV4, "nftables": "ip saddr " + lab.ClientV4} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, "", "nft")
			own := append(ownTCP(t, n)[:2], ownUDP(t, n)[0])
			pod := n.NewPod("web")
			pod.Serve(80, "web")
			list := n.Network("net", "4", lab.Conf{"conditionsV4": strings.Fields(conditions)})
			n.MustAdd(pod, list, lab.TCP(41000, 80), lab.TCP(8443, 80), lab.UDP(41000, 80))
			forget(t, n.Netns)
			for _, f := range own {
				f.works(t, "after ADD")
			}
			for _, network := range []string{"tcp4", "udp4"} {
				want(t, network, n.Client.Who(network, lab.NodeV4+":41000"), "web")
			}
		})
	}
}
