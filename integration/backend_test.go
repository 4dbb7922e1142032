// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// nftProxy has the shape of kube-proxy's nftables mode, with one NodePort and one
// ClusterIP that lead to backend.
func nftProxy(backend string) string {
	host, port, _ := net.SplitHostPort(backend)
	return fmt.Sprintf(`table ip kube-proxy
delete table ip kube-proxy
table ip kube-proxy {
	chain service { meta l4proto tcp dnat to %s:%s; }
	chain services {
		ip daddr . meta l4proto . th dport vmap { 10.96.0.10 . tcp . 80 : goto service };
		fib daddr type local meta l4proto . th dport vmap { tcp . 30080 : goto service };
	}
	chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
	chain nat-output { type nat hook output priority -100; jump services; }
}
`, host, port)
}

// A Service keeps its traffic, in whatever kube-proxy writes it, whether it
// registers its chains before or after ours, or again.
func TestServicesWinByOrder(t *testing.T) {
	for _, shape := range []string{"nftables", "iptables-nft", "iptables-legacy"} {
		t.Run(shape, func(t *testing.T) {
			flavour, native := strings.CutPrefix(shape, "iptables-")
			if !native {
				flavour = "nft"
			}
			n := newNode(t, "nftables", flavour)
			n.Run("ip", "route", "add", "default", "via", lab.ClientV4)
			list := n.Network("net", "4", nil)
			service, pod := n.NewPod("service"), n.NewPod("web")
			service.Serve(80, "service")
			pod.Serve(80, "pod")
			n.MustAdd(service, list)
			proxy := func() {
				if shape == "nftables" {
					n.Feed(nftProxy(net.JoinHostPort(service.V4, "80")), "nft", "-f", "-")
				} else {
					n.KubeProxy(net.JoinHostPort(service.V4, "80"))
				}
			}
			ask := func(when string) {
				t.Helper()
				want(t, when+": the NodePort from outside", n.Client.Who("tcp4", lab.NodeV4+":30080"), "service")
				want(t, when+": the NodePort from the node", n.Who("tcp4", lab.NodeV4+":30080"), "service")
				want(t, when+": the ClusterIP from outside", n.Client.Who("tcp4", "10.96.0.10:80"), "service")
				want(t, when+": the ClusterIP from the node", n.Who("tcp4", "10.96.0.10:80"), "service")
				want(t, when+": the hostPort", n.Client.Who("tcp4", lab.NodeV4+":80"), "pod")
				want(t, when+": the hostPort from the node", n.Who("tcp4", lab.NodeV4+":80"), "pod")
			}
			ports := []lab.Port{lab.TCP(30080, 80), lab.TCP(80, 80)}
			n.MustAdd(pod, list, ports...)
			want(t, "before kube-proxy", n.Client.Who("tcp4", lab.NodeV4+":30080"), "pod")
			proxy()
			ask("kube-proxy registered after ours")
			if shape != "nftables" {
				n.Iptables("", "-t nat -F")
				n.Iptables("", "-t filter -F")
			}
			proxy()
			ask("registered again")
			if err := n.Del(pod, list, ports...); err != nil {
				t.Fatal(err)
			}
			n.MustAdd(pod, list, lab.TCP(80, 80))
			ask("registered before ours")
			refused(t, n, list, map[bool]uint{true: 103, false: 102}[shape == "nftables"], []string{"30080"}, lab.TCP(30080, 80))
		})
	}
}

// With neither iptables nor nft on the node all verbs work, where the other rules
// are those of nftables.
func TestWithoutAnyTool(t *testing.T) {
	n := newNode(t, "", "nft")
	pod, other := n.NewPod("web"), n.NewPod("other")
	link(n, pod)
	n.Feed(nftProxy("10.88.0.9:80"), "nft", "-f", "-")
	before := n.Rules()
	env := n.Env
	n.Env = append(os.Environ(), "PATH="+t.TempDir())
	mustCall(t, n, "ADD", pod, direct(n, pod, mapping, ""))
	mustCall(t, n, "CHECK", pod, direct(n, pod, mapping, ""))
	for port, says := range map[string]string{"30080": "nftables ip kube-proxy", "8080": "has hostPort 8080"} {
		if out, _, err := n.Call("ADD", other, direct(n, other, `[{"hostPort":`+port+`,"containerPort":80}]`, "")); err == nil || !strings.Contains(out, says) {
			t.Errorf("%s: %v %s", port, err, out)
		}
	}
	out, _, err := n.Call("ADD", other, direct(n, other, `[{"hostPort":1,"containerPort":1}]`, `,"conditionsV4":["ip","saddr","192.0.2.2"]`))
	if err == nil || !strings.Contains(out, "need the nft program") {
		t.Errorf("conditions without nft: %v %s", err, out)
	}
	mustCall(t, n, "DEL", pod, bare(n))
	n.Env = env
	unchanged(t, n, before)
}

// An attachment is found where it was installed, also after the choice changed,
// with and without its record.
func TestChangedBackend(t *testing.T) {
	n := newNode(t, "", "nft")
	pod := n.NewPod("web")
	link(n, pod)
	conf := func(backend string) string { return direct(n, pod, mapping, `,"backend":"`+backend+`"`) }
	for _, way := range [][2]string{{"iptables", "nftables"}, {"nftables", "iptables"}} {
		for _, wiped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s to %s, wiped %t", way[0], way[1], wiped), func(t *testing.T) {
				wipe := func() {
					if wiped {
						n.WipeState()
					}
				}
				mustCall(t, n, "ADD", pod, conf(way[0]))
				wipe()
				mustCall(t, n, "CHECK", pod, conf(way[1]))
				other := n.NewPod("other")
				if out, _, err := n.Call("ADD", other, direct(n, other, mapping, `,"backend":"`+way[1]+`"`)); err == nil || !strings.Contains(out, "has hostPort 8080") {
					t.Errorf("a second claimant in the other backend: %v %s", err, out)
				}
				mustCall(t, n, "ADD", pod, conf(way[1]))
				if m := n.Mapped("10.88.0.77"); m != 2 {
					t.Errorf("%d mappings after ADD with the other backend, want 2:\n%s", m, n.Rules())
				}
				wipe()
				mustCall(t, n, "DEL", pod, bare(n))
				unchanged(t, n, "")
				mustCall(t, n, "ADD", pod, conf(way[0]))
				wipe()
				mustCall(t, n, "DEL", pod, conf(way[1]))
				unchanged(t, n, "")
				want(t, "route_localnet", n.ReadSysctl("net/ipv4/conf/pod0/route_localnet"), "0")
			})
		}
	}
}

// Conditions in the language of nft restrict who is mapped, and only this pod's
// mappings.
func TestConditionsOfNft(t *testing.T) {
	n := newNode(t, "", "nft")
	pod, plain := n.NewPod("web"), n.NewPod("plain")
	pod.Serve(80, "pod")
	plain.Serve(80, "plain")
	for _, a := range []string{"192.0.2.3/24", "192.0.2.4/24"} {
		n.Client.Run("ip", "addr", "add", a, "dev", "eth0")
	}
	list := n.Network("net", "46", lab.Conf{"conditionsV4": []string{"ip", "saddr", "{ 192.0.2.3, 192.0.2.4 }"}, "conditionsV6": []string{"ip6 saddr != " + lab.ClientV6}})
	before := n.Rules()
	ports := []lab.Port{lab.TCP(8080, 80), lab.TCP(9090, 80).On(lab.NodeV4)}
	n.MustAdd(pod, list, ports...)
	n.MustAdd(plain, n.Network("net", "46", nil), lab.TCP(8081, 80))
	who := func(src, port string) string {
		return n.Client.WhoFrom("tcp4", src, net.JoinHostPort(lab.NodeV4, port))
	}
	want(t, "a client that the condition names", who("192.0.2.3", "8080"), "pod")
	want(t, "another client", who("192.0.2.2", "8080"), "")
	want(t, "the mapping with a hostIP", who("192.0.2.4", "9090"), "pod")
	want(t, "the same for another client", who("192.0.2.2", "9090"), "")
	want(t, "a pod without conditions", who("192.0.2.2", "8081"), "plain")
	want(t, "IPv6, excluded", n.Client.Who("tcp6", net.JoinHostPort(lab.NodeV6, "8080")), "")
	want(t, "IPv6, from the node", n.Who("tcp6", net.JoinHostPort(lab.NodeV6, "8080")), "pod")
	refused(t, n, n.Network("net", "46", nil), 101, []string{"pod default/web"}, lab.TCP(8080, 80))
	if err := n.Check(pod, list, ports...); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	n.Run("sh", "-c", "nft flush chain inet portguard $(nft list chains inet | grep -o 'if-[A-Za-z0-9-]*')")
	if err := n.Check(pod, list, ports...); err == nil {
		t.Error("CHECK does not see that the conditions are gone")
	}
	for p, l := range map[*lab.Pod]string{pod: list, plain: n.Network("net", "46", nil)} {
		if err := n.Del(p, l); err != nil {
			t.Error(err)
		}
	}
	unchanged(t, n, before)

	bad := n.Network("net", "4", lab.Conf{"conditionsV4": []string{"ip", "saddr", "nowhere-at-all"}})
	if out, err := n.Add(pod, bad, lab.TCP(8080, 80)); err == nil || !strings.Contains(err.Error(), "conditionsV4") {
		t.Errorf("conditions that nft refuses: %v %s", err, out)
	}
	unchanged(t, n, before)
}

// Other people's tools are not disturbed by our table.
func TestToolsBesideTheTable(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	n.KubeProxy("10.88.0.200:80")
	pod := n.NewPod("web")
	mustCall(t, n, "ADD", pod, direct(n, pod, mapping, ""))
	for _, cmd := range []string{"iptables-nft -t nat -S", "iptables-nft -S", "iptables-nft-save", "ip6tables-nft -t nat -S", "nft list ruleset", "iptables-nft -t nat -A OUTPUT -j RETURN"} {
		out := n.Run("sh", "-c", cmd+" 2>&1")
		if strings.Contains(strings.ToLower(out), "error") || strings.Contains(out, "incompatible") || strings.Contains(out, "not permitted") {
			t.Errorf("%s: %s", cmd, out)
		}
	}
	n.Run("sh", "-e", "-c", "iptables-nft-save >"+n.Dir+"/r; iptables-nft-restore <"+n.Dir+"/r")
	// What nft prints it loads again, and we know it as ours.
	n.Run("sh", "-e", "-c", "nft list table inet portguard >"+n.Dir+"/t; nft delete table inet portguard; nft -f "+n.Dir+"/t")
	mustCall(t, n, "CHECK", pod, direct(n, pod, mapping, ""))
	mustCall(t, n, "DEL", pod, bare(n))
	if strings.Contains(n.Rules(), "portguard") {
		t.Error("rules left")
	}
}

// What is broken in the shared part is mended by the next ADD, and others keep
// their mappings.
func TestBrokenTableIsMended(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	one, two := n.NewPod("one"), n.NewPod("two")
	link(n, one)
	for _, spoil := range []string{
		"flush chain inet portguard hostports4", "flush chain inet portguard prerouting; delete chain inet portguard prerouting",
		"insert rule inet portguard masquerading drop", "add table inet portguard { flags dormant; }",
		"flush chain inet portguard prerouting; delete chain inet portguard prerouting; add chain inet portguard prerouting { type nat hook prerouting priority -100; }",
		"flush chain inet portguard output; delete chain inet portguard output; add chain inet portguard output", "flush chain inet portguard-localnet gate; delete chain inet portguard-localnet guard; delete chain inet portguard-localnet gate",
	} {
		t.Run(spoil, func(t *testing.T) {
			conf := direct(n, one, mapping, "")
			mustCall(t, n, "ADD", one, conf)
			n.Run("nft", spoil)
			if out, _, err := n.Call("CHECK", one, conf); err == nil || !strings.Contains(out, "not as installed") {
				t.Errorf("CHECK: %v %s", err, out)
			}
			mustCall(t, n, "ADD", two, direct(n, two, `[{"hostPort":1,"containerPort":1}]`, ""))
			mustCall(t, n, "ADD", one, conf)
			mustCall(t, n, "CHECK", one, conf)
			mustCall(t, n, "DEL", one, bare(n))
			mustCall(t, n, "DEL", two, bare(n))
			unchanged(t, n, "")
		})
	}
}

// The backend is chosen by itself, and says why.
func TestChoice(t *testing.T) {
	for _, tc := range []struct{ name, more, says string }{
		{"by default", "", "backend nftables: the kernel has nf_tables"},
		{"by name", `,"backend":"iptables"`, "backend iptables-nft: the configuration names it"},
		{"conditions of iptables", `,"conditionsV4":["-s","192.0.2.2"]`, "backend iptables-nft: the conditions are in its syntax"},
		{"conditions of nftables", `,"conditionsV4":["ip","saddr","192.0.2.2"]`, "backend nftables: the conditions are in its syntax"},
		{"ipvs", "", "backend iptables-nft: kube-proxy is in ipvs mode"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNode(t, "", "nft")
			if tc.name == "ipvs" {
				n.Run("ip", "link", "add", "kube-ipvs0", "type", "bridge")
			}
			n.Env = append([]string{"PORTGUARD_DEBUG=1"}, n.Env...)
			pod := n.NewPod("web")
			out, errs, err := n.Call("ADD", pod, direct(n, pod, `[{"hostPort":8080,"containerPort":80}]`, tc.more))
			if err != nil || !strings.Contains(errs, tc.says) {
				t.Errorf("%v %s %s, want %q", err, out, errs, tc.says)
			}
			if f, _ := filepath.Glob(n.Dir + "/state/*.json"); len(f) != 1 {
				t.Errorf("state files: %v", f)
			}
			mustCall(t, n, "DEL", pod, bare(n))
			unchanged(t, n, "")
		})
	}
}
