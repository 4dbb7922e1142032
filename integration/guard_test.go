// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
)

// A leak is rules of somebody that send what comes for PORT of NODE by LINK to 127.0.0.1.
// They do nothing as long as the kernel takes nothing for 127.0.0.0/8 from a link.
type leak struct{ name, iptables, nft string }

// translations are leaks by conntrack, at any priority.
func translations() []leak {
	var out []leak
	for _, flavour := range []string{"nft", "legacy"} {
		out = append(out, leak{name: "DNAT of iptables-" + flavour,
			iptables: "iptables-" + flavour + " -t nat -A PREROUTING -d NODE -p PROTO --dport PORT -j DNAT --to-destination 127.0.0.1"})
	}
	for _, prio := range []int{-199, -110, 0, 300} {
		out = append(out, leak{name: fmt.Sprintf("dnat at %d", prio),
			nft: fmt.Sprintf("chain leak { type nat hook prerouting priority %d; ip daddr NODE th dport PORT dnat ip to 127.0.0.1; }", prio)})
	}
	return out
}

// rewrites are leaks that change the address and nothing else, with conntrack and without:
// before and behind all that portguard has in a hook.
func rewrites() []leak {
	const rules = `chain leak { type filter hook %s; ip daddr NODE th dport PORT ip daddr set 127.0.0.1; }
		chain back { type filter hook output priority 400; ip saddr 127.0.0.1 oif LINK th sport PORT ip saddr set NODE; }
		chain raw { type filter hook prerouting priority -410; ip daddr { NODE, 127.0.0.1 } th dport PORT %s; }`
	out := []leak{{name: "ingress", nft: fmt.Sprintf(rules, "ingress device LINK priority 0", "accept")}}
	for hook, prios := range map[string][]int{"prerouting": {-400, -250, -199, -160, -50, 300, 2147483647}, "input": {-300, -151, -50, 150, 2147483646, 2147483647}} {
		for _, prio := range prios {
			for _, raw := range []string{"accept", "notrack"} {
				out = append(out, leak{name: fmt.Sprintf("%s at %d, %s", hook, prio, raw), nft: fmt.Sprintf(rules, fmt.Sprintf("%s priority %d", hook, prio), raw)})
			}
		}
	}
	return out
}

// An attack is leaks of a node, each for a port of its own, and who tries them.
type attack struct {
	leaks      []leak
	from       *lab.Netns
	node, link string
	base       int
}

// prepare makes the leaks, and listeners at 127.0.0.1 behind them.
func (a attack) prepare(n *lab.Node) {
	var script strings.Builder
	for i, l := range a.leaks {
		fill := strings.NewReplacer("PORT", fmt.Sprint(a.base+i), "NODE", a.node, "LINK", a.link)
		for _, proto := range []string{"tcp", "udp"} {
			if l.iptables != "" {
				n.Run(strings.Fields(strings.Replace(fill.Replace(l.iptables), "PROTO", proto, 1))...)
			}
		}
		if l.nft != "" {
			fmt.Fprintf(&script, "table inet leak%d {\n%s\n}\n", a.base+i, fill.Replace(l.nft))
		}
		at := fmt.Sprintf("127.0.0.1:%d", a.base+i)
		n.ServeTCP("tcp4", at, "secret")
		n.ServeUDP("udp4", at, "secret")
	}
	n.Feed(script.String(), "nft", "-f", "-")
}

// try returns the leaks by which the attacker reaches 127.0.0.1, or by which not.
func (a attack) try(reached bool) []string {
	var wait sync.WaitGroup // an attack that fails waits for an answer
	out := make([]string, 2*len(a.leaks))
	for i, l := range a.leaks {
		for k, proto := range []string{"tcp4", "udp4"} {
			wait.Go(func() {
				if who := a.from.Who(proto, fmt.Sprintf("%s:%d", a.node, a.base+i)); (who == "secret") == reached {
					out[2*i+k] = fmt.Sprintf("%s, %s to %s", l.name, proto, a.node)
				}
			})
		}
	}
	wait.Wait()
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// noneGetsIn wants that no attack reaches 127.0.0.1, allGetIn that each does.
func noneGetsIn(t *testing.T, when string, attacks ...attack) {
	t.Helper()
	attacked(t, when, true, attacks)
}
func allGetIn(t *testing.T, when string, attacks ...attack) {
	t.Helper()
	attacked(t, when, false, attacks)
}

func attacked(t *testing.T, when string, wrong bool, attacks []attack) {
	t.Helper()
	var wait sync.WaitGroup
	found := make([][]string, len(attacks))
	for i, a := range attacks {
		wait.Go(func() { found[i] = a.try(wrong) })
	}
	wait.Wait()
	if got := slices.Concat(found...); len(got) > 0 {
		t.Errorf("%s: reached is %t: %d attacks: %q", when, wrong, len(got), got)
	}
}

// unguard takes the guard away as somebody could who flushes rules.
func unguard(n *lab.Node) { n.Run("nft", "delete table inet portguard-localnet") }

// onUplink is a configuration for a pod that has an address of the node's own network.
func onUplink(n *lab.Node, p *lab.Pod, ports string) string {
	return strings.Replace(direct(n, p, ports, ""), "10.88.0.77/16", "192.0.2.50/24", 1)
}

// Nobody gets to what listens at 127.0.0.1 by the sysctl that portguard switches on,
// whoever translates it and wherever: neither a pod nor, where a pod is on the network of
// the uplink, a neighbour of the node.
func TestOthersTranslateToLoopback(t *testing.T) {
	t.Parallel()
	onOneOfEach(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		evil, web, uplink := n.NewPod("evil"), n.NewPod("web"), n.NewPod("uplink")
		web.Serve(80, "web")
		n.MustAdd(evil, list)
		leaks := slices.Concat(translations(), rewrites())
		pod, neighbour := attack{leaks, evil.Netns, "10.88.0.1", "cni0", 7000}, attack{leaks, n.Client, lab.NodeV4, "eth0", 7500}
		pod.prepare(n)
		neighbour.prepare(n)
		n.Run("nft", "table ip pings { chain leak { type nat hook prerouting priority -110; ip daddr 198.51.100.7 dnat to 127.0.0.1; }; }")
		pings := func() bool {
			c := evil.Open("ip4:icmp", "198.51.100.7")
			_, _ = c.Write([]byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}) // an echo request with its checksum
			_ = c.SetReadDeadline(time.Now().Add(time.Second / 2))
			_, err := c.Read(make([]byte, 1500))
			return err == nil
		}
		want(t, "a ping before", fmt.Sprint(pings()), "false")

		n.MustAdd(web, list, lab.TCP(8080, 80), lab.UDP(8080, 80), lab.UDP(8081, 81))
		mustCall(t, n, "ADD", uplink, onUplink(n, uplink, `[{"hostPort":8082,"containerPort":80}]`))
		for _, link := range []string{"cni0", "eth0"} {
			want(t, "route_localnet of "+link, n.ReadSysctl("net/ipv4/conf/"+link+"/route_localnet"), "1")
		}
		noneGetsIn(t, "with the guard", pod, neighbour)
		want(t, "a ping", fmt.Sprint(pings()), "false")
		for _, proto := range []string{"tcp4", "udp4"} {
			want(t, "an answer to the node, "+proto, n.Who(proto, "127.0.0.1:8080"), "web")
		}
		refused := n.Open("udp4", "127.0.0.1:8081")
		_, _ = refused.Write([]byte("x"))
		if _, err := refused.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("the pod's ICMP error to the node: %v", err)
		}
		unguard(n)
		allGetIn(t, "without the guard", pod, neighbour)
		want(t, "a ping without the guard", fmt.Sprint(pings()), "true")
	})
}

// onOneOfEach runs a test once with each backend: what is tested is the same in either flavour.
func onOneOfEach(t *testing.T, f func(t *testing.T, n *lab.Node)) {
	t.Helper()
	for backend, flavour := range map[string]string{"iptables": "legacy", "nftables": "nft"} {
		t.Run(backend, func(t *testing.T) { f(t, newNode(t, backend, flavour)) })
	}
}

// Where the sysctl was on before, all passes that passed, and stays so.
func TestLoopbackWasOpen(t *testing.T) {
	onOneOfEach(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		evil, web := n.NewPod("evil"), n.NewPod("web")
		n.MustAdd(evil, list)
		web.Serve(80, "web")
		pod := attack{translations(), evil.Netns, "10.88.0.1", "cni0", 7000}
		pod.prepare(n)
		confDir(t, n, list)
		sysctls := func() string { return n.Run("sh", "-c", "grep . /proc/sys/net/ipv4/conf/*/route_localnet") }
		for _, where := range []string{"cni0", "all"} {
			n.Sysctl("net/ipv4/conf/"+where+"/route_localnet", "1")
			before := sysctls()
			allGetIn(t, where+", before", pod)
			n.MustAdd(web, list, lab.TCP(8080, 80))
			allGetIn(t, where+", with portguard", pod)
			want(t, where+", from the node", n.Who("tcp4", "127.0.0.1:8080"), "web")
			if where == "all" { // it is portguard's as soon as portguard switches it on again
				n.Sysctl("net/ipv4/conf/all/route_localnet", "0")
				for _, spoil := range []func(){func() {}, func() { unguard(n) }} {
					spoil()
					if out, err := cli(n, "restore"); err != nil || !strings.Contains(out, "restored") {
						t.Errorf("restore: %v %s", err, out)
					}
				}
				want(t, "restored, from the node", n.Who("tcp4", "127.0.0.1:8080"), "web")
				noneGetsIn(t, "restored", pod)
				n.Sysctl("net/ipv4/conf/all/route_localnet", "1")
			}
			if err := n.Check(web, list, lab.TCP(8080, 80)); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			if err := n.Del(web, list, lab.TCP(8080, 80)); err != nil {
				t.Errorf("DEL: %v", err)
			}
			if d := cmp.Diff(before, sysctls()); d != "" {
				t.Errorf("%s: sysctls (-before +after)\n%s", where, d)
			}
			n.Sysctl("net/ipv4/conf/"+where+"/route_localnet", "0")
		}
	})
}

// A pod cannot have what listens on the node as its own: an IPAM takes addresses from the
// pod's author perhaps.
func TestImpossiblePods(t *testing.T) {
	onOneOfEach(t, func(t *testing.T, n *lab.Node) {
		n.Run("ip", "link", "add", "nodelocaldns", "type", "bridge")
		n.Run("ip", "addr", "add", "10.96.0.10/32", "dev", "nodelocaldns")
		pod := n.NewPod("evil")
		link(n, pod)
		good := direct(n, pod, mapping, "")
		mustCall(t, n, "ADD", pod, good)
		before := n.Rules()
		for _, ip := range []string{"127.0.0.1/8", "::ffff:127.0.0.1/104", "0.0.0.0/0", "169.254.169.254/32", "224.0.0.1/4", "255.255.255.255/32", "192.0.2.255/24",
			lab.NodeV4 + "/24", "10.96.0.10/32", "::1/128", "fe80::1/64", "ff02::1/16", lab.NodeV6 + "/64", "::/0"} {
			for i, conf := range []string{strings.Replace(good, "10.88.0.77/16", ip, 1), strings.Replace(good, "fd00:88::77/64", ip, 1)} {
				out, _, err := n.CallOn("eth0", "ADD", pod, conf)
				if field := fmt.Sprintf(`"prevResult.ips[%d]: `, i); err == nil || !strings.Contains(out, `"code": 7`) || !strings.Contains(out, field) {
					t.Errorf("%s in place %d: %v %s", ip, i, err, out)
				}
			}
		}
		unchanged(t, n, before)
		mustCall(t, n, "CHECK", pod, good)
	})
}

// A link takes its sysctl along when it is renamed, and its guard too.
func TestRenamedLinkIsGuarded(t *testing.T) {
	onOneOfEach(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		evil, web := n.NewPod("evil"), n.NewPod("web")
		n.MustAdd(evil, list)
		pod := attack{translations(), evil.Netns, "10.88.0.1", "cni0", 7000}
		pod.prepare(n)
		n.MustAdd(web, list, lab.TCP(8080, 80))
		n.Run("ip", "link", "set", "cni0", "down")
		n.Run("ip", "link", "set", "cni0", "name", "br0")
		n.Run("ip", "link", "set", "br0", "up")
		noneGetsIn(t, "renamed", pod)
		if err := n.Del(web, list, lab.TCP(8080, 80)); err != nil {
			t.Errorf("DEL: %v", err)
		}
		noneGetsIn(t, "after DEL", pod)
	})
}

// A kernel without nf_tables has the guard in iptables.
func TestGuardOfIptables(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		evil, web := n.NewPod("evil"), n.NewPod("web")
		web.Serve(80, "web")
		list := n.Network("net", "4", nil)
		n.MustAdd(evil, list)
		n.MustAdd(web, list)
		old := []string{"setarch", "--uname-2.6"} // older than what nftables mappings need
		conf := strings.Replace(direct(n, web, `[{"hostPort":8080,"containerPort":80}]`, ""), "10.88.0.77/16", web.V4+"/16", 1)
		pod := attack{translations(), evil.Netns, "10.88.0.1", "cni0", 7000}
		pod.prepare(n)
		before := n.Rules()
		if out, _, err := n.Call("ADD", web, conf, old...); err != nil {
			t.Fatalf("ADD: %s", out)
		}
		noneGetsIn(t, "with the guard", pod)
		want(t, "from the node", n.Who("tcp4", "127.0.0.1:8080"), "web")
		if out, _, err := n.Call("CHECK", web, conf, old...); err != nil {
			t.Errorf("CHECK: %s", out)
		}
		n.Iptables("", "-t mangle -F PORTGUARD-GUARD")
		allGetIn(t, "without the guard", pod)
		if out, _, err := n.Call("DEL", web, conf, old...); err != nil {
			t.Errorf("DEL: %s", out)
		}
		unchanged(t, n, before)
	})
}
