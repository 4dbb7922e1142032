// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// aims makes a namespace send what it sends to 127.0.0.0/8 to a gateway.
func aims(a *lab.Netns, gateway, own string) {
	a.Sysctl("net/ipv4/conf/all/route_localnet", "1")
	_, _ = a.Try("", "ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
	a.Run("ip", "route", "replace", "127.0.0.0/8", "via", gateway, "dev", "eth0", "src", own)
	_, _ = a.Try("", "ip", "route", "flush", "table", "local", "127.0.0.0/8")
}

// Nobody but the node itself reaches what is mapped at 127.0.0.1, although packets
// are translated before the kernel would see that they must not come in: no pod on
// the link with route_localnet, and no neighbour on a link without.
func TestLoopbackFromOutside(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		conditions := []string{"ct state new"}
		if !n.Native() {
			conditions = []string{"-m", "conntrack", "--ctstate", "NEW"}
		}
		list := n.Network("net", "46", nil)
		conditional := n.Network("net", "46", lab.Conf{"conditionsV4": conditions})
		evil := n.NewPod("evil")
		n.MustAdd(evil, list)
		aims(evil.Netns, "10.88.0.1", evil.V4)
		aims(n.Client, lab.NodeV4, lab.ClientV4)
		attackers := map[string]*lab.Netns{"a pod": evil.Netns, "a neighbour": n.Client}
		cases := []struct {
			name, list string
			hostIP     string
		}{{"wildcard", list, ""}, {"own", list, "127.0.0.1"}, {"conditional", conditional, ""}, {"conditional-own", conditional, "127.0.0.1"}}
		var attacks sync.WaitGroup // an attack that fails waits for an answer
		for i, c := range cases {
			port := 8080 + i
			pod := n.NewPod(c.name)
			pod.Serve(80, c.name)
			n.MustAdd(pod, c.list, lab.TCP(port, 80).On(c.hostIP), lab.UDP(port, 80).On(c.hostIP))
			at := fmt.Sprintf("127.0.0.1:%d", port)
			for _, proto := range []string{"tcp4", "udp4"} {
				want(t, c.name+" from the node, "+proto, n.Who(proto, at), c.name)
				for who, a := range attackers {
					attacks.Go(func() { want(t, c.name+" from "+who+", "+proto, a.Who(proto, at), "") })
				}
			}
		}
		attacks.Wait()
		want(t, "the node's address from a neighbour", n.Client.Who("tcp4", lab.NodeV4+":8080"), "wildcard")
		want(t, "the node's address from a pod", evil.Who("tcp4", lab.NodeV4+":8080"), "wildcard")
	})
}

// A bridge's netfilter asks the chains before the kernel drops what is for ::1.
func TestLoopbackFromABridge(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		web, evil := n.NewPod("web"), n.NewPod("evil")
		n.MustAdd(evil, list)
		n.MustAdd(web, list, lab.UDP(8080, 80))
		n.Sysctl("net/bridge/bridge-nf-call-ip6tables", "1")
		for to, translated := range map[string]bool{"fd00:88::1": true, "::1": false} {
			evil.SendFrame(n.MAC("cni0"), netip.AddrPortFrom(netip.MustParseAddr(evil.V6), 4444), netip.AddrPortFrom(netip.MustParseAddr(to), 8080))
			evil.Get("tcp6", "[fd00:88::1]:1") // sent after it
			flows := n.Run("sh", "-c", "conntrack -L -f ipv6 -p udp 2>/dev/null")
			want(t, "a flow to "+to, fmt.Sprint(strings.Contains(flows, "dst="+to+" sport=4444 dport=8080")), fmt.Sprint(translated))
		}
	})
}

// What others map at 127.0.0.1 is not open to the link with route_localnet either.
func TestOthersAtLoopback(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		web, evil, other := n.NewPod("web"), n.NewPod("evil"), n.NewPod("other")
		web.Serve(80, "web")
		other.Serve(80, "other")
		n.ServeTCP("tcp4", "127.0.0.1:6000", "secret")
		for _, p := range []*lab.Pod{evil, other} {
			n.MustAdd(p, list)
		}
		n.Iptables("", "-t nat -I PREROUTING -d 127.0.0.1/32 -p tcp --dport 9000 -j DNAT --to-destination "+other.V4+":80")
		n.Iptables("", "-t nat -I PREROUTING -d 127.0.0.1/32 -p tcp --dport 9001 -j DNAT --to-destination 127.0.0.1:6000")
		aims(evil.Netns, "10.88.0.1", evil.V4)
		want(t, "without portguard", evil.Who("tcp4", "127.0.0.1:9000"), "other")
		n.MustAdd(web, list, lab.TCP(8080, 80))
		want(t, "a pod behind it", evil.Who("tcp4", "127.0.0.1:9000"), "")
		want(t, "a listener at 127.0.0.1 behind it", evil.Who("tcp4", "127.0.0.1:9001"), "")
	})
}

// route_localnet lets in packets from 127.0.0.0/8 as well. Two pods must not make a
// connection of one to the hostPort of the other to reach a listener on loopback: the
// answer of the second would come back for the address that the first has forged.
func TestForgedLoopback(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := strings.Replace(n.Network("net", "4", nil), `"type":"bridge"`, `"type":"ptp"`, 1) // each pod has a link of its own
		a, b := n.NewPod("a"), n.NewPod("b")
		n.MustAdd(a, list, lab.TCP(8081, 81))
		n.MustAdd(b, list, lab.UDP(8080, 80))
		n.ServeUDP("udp4", "127.0.0.53:53", "secret")
		n.ServeUDP("udp4", lab.NodeV4+":7000", "service")
		want(t, "links of pods on a bridge", n.Run("ip", "-o", "link", "show", "type", "bridge"), "")
		aims(a.Netns, "10.88.0.1", a.V4)
		aims(b.Netns, "10.88.0.1", b.V4)
		a.Run("ip", "addr", "add", "127.0.0.53/32", "dev", "eth0")
		attack := func() (reached bool) {
			answers := b.OpenFrom("udp4", b.V4+":80", "127.0.0.53:53")
			forged := a.OpenFrom("udp4", "127.0.0.53:53", lab.NodeV4+":8080")
			_, _ = forged.Write([]byte("open"))
			reached = lab.Ask(answers) != ""
			_, _ = answers.Close(), forged.Close()
			return reached
		}
		counter := "table ip probe { chain in { type filter hook input priority 300; ip saddr 127.0.0.53 udp dport 7000 counter; }; }"
		n.Feed(counter, "nft", "-f", "-")
		arrives := func() bool {
			forged := a.OpenFrom("udp4", "127.0.0.53:5353", lab.NodeV4+":7000")
			_, _ = forged.Write([]byte("x"))
			_ = forged.Close()
			a.Get("tcp4", "10.88.0.1:1") // sent after it
			return !strings.Contains(n.Run("nft", "list", "chain", "ip", "probe", "in"), "packets 0 ")
		}
		want(t, "an answer to a forged connection", fmt.Sprint(attack()), "false")
		want(t, "a forged packet arrives", fmt.Sprint(arrives()), "false")
		unguard(n)
		want(t, "a forged packet arrives without the guard", fmt.Sprint(arrives()), "true")
		n.Run("conntrack", "-F")
		want(t, "an answer without the guard", fmt.Sprint(attack()), "true")
	})
}
