// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// A BPF program that chooses sockets has what it takes, whoever the client is that it takes
// it from, and no mapping takes that.
func TestSocketProgram(t *testing.T) {
	t.Parallel()
	n := lab.NewNode(t, bin, "nft")
	list := n.Network("net", "4", nil)
	confDir(t, n, list)
	pod := n.NewPod("web")
	pod.Serve(80, "web")
	client := netip.MustParseAddr(lab.ClientV4).As4()
	for _, tc := range []struct {
		name string
		from uint32
	}{
		{"dispatch", 0},
		{"one_client", binary.NativeEndian.Uint32(client[:])},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want(t, "without the program", n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
			program := n.Steer(tc.name, 8080, tc.from)
			want(t, "with it", n.Client.Who("tcp4", lab.NodeV4+":8080"), tc.name)
			refused(t, n, list, 113, []string{"8080/tcp may be taken: BPF program ", `(sk_lookup "` + tc.name + `")`, "bpftool prog show id"}, lab.TCP(8080, 80))
			want(t, "after the refusal", n.Client.Who("tcp4", lab.NodeV4+":8080"), tc.name)

			// The way out leaves the choice to the administrator.
			warning := n.Network("warn", "4", lab.Conf{"conflictPolicy": "warn"})
			if out := accepted(t, n, warning, lab.TCP(8081, 80)); !strings.Contains(out, "8081/tcp may be taken: BPF program ") {
				t.Errorf("with the policy \"warn\" ADD says %q", out)
			}
			program.Close()
			n.MustAdd(pod, list, lab.TCP(8080, 80))
			want(t, "without it again", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")

			// One that comes later gets nothing, and is no fault of the pod's.
			program = n.Steer(tc.name, 8080, tc.from)
			defer program.Close()
			want(t, "with one that comes later", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
			for where, e := range listed(t, n) {
				want(t, where, string(e.State), "ok")
			}
			if out, _ := cli(n, "doctor"); !strings.Contains(out, "WARNING  socket-program") {
				t.Errorf("doctor says nothing of the program:\n%s", out)
			}
			if err := n.Del(pod, list, lab.TCP(8080, 80)); err != nil {
				t.Error(err)
			}
		})
	}
}

// What policy routing leads elsewhere before it asks for addresses of the node belongs to
// who is there, for the marks that rules of netfilter set and for all else.
func TestPolicyRouting(t *testing.T) {
	t.Parallel()
	n := lab.NewNode(t, bin, "nft")
	list := n.Network("net", "4", nil)
	confDir(t, n, list)
	behind := n.NewPod("balancer")
	n.MustAdd(behind, list)
	behind.Run("ip", "addr", "add", lab.NodeV4, "dev", "lo")
	behind.Serve(8080, "balancer")
	n.Sysctl("net/ipv4/conf/cni0/accept_local", "1") // its answers have the node's address
	n.Run("ip", "route", "add", "default", "via", behind.V4, "table", "77")
	n.Run("ip", "rule", "add", "pref", "100", "lookup", "local")
	n.Run("ip", "rule", "del", "pref", "0")
	for _, tc := range []struct{ name, rule, marks string }{
		{"by a mark of mangle", "fwmark 7", "mangle -A PREROUTING -p tcp --dport 8080 -j MARK --set-mark 7"},
		{"by a part of a mark of raw", "fwmark 0x700/0xf00", "raw -A PREROUTING -i eth0 -p tcp -m multiport --dports 8080,9000 -j MARK --set-mark 0x1701"},
		{"by the port", "iif eth0 ipproto tcp dport 8000-8090", ""},
		{"by the source", "from 192.0.2.0/24 to 192.0.2.1", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n.Run(strings.Fields("ip rule add pref 50 " + tc.rule + " lookup 77")...)
			defer n.Run("ip", "rule", "del", "pref", "50")
			if tc.marks != "" {
				n.Iptables("", "-t "+tc.marks)
				defer n.Iptables("", "-t "+strings.Replace(tc.marks, "-A ", "-D ", 1))
			}
			want(t, "before", n.Client.Who("tcp4", lab.NodeV4+":8080"), "balancer")
			refused(t, n, list, 114, []string{"8080/tcp is taken: policy routing", "50: from ", "lookup 77"}, lab.TCP(8080, 80))
			want(t, "after the refusal", n.Client.Who("tcp4", lab.NodeV4+":8080"), "balancer")
		})
	}
	n.Run("ip", "rule", "add", "pref", "50", "fwmark", "7", "lookup", "77")
	if out := accepted(t, n, list, lab.TCP(8080, 80)); !strings.Contains(out, "policy routing comes before table local and may lead some of its packets elsewhere") {
		t.Errorf("of a mark that nobody sets ADD says %q", out)
	}
	if out, _ := cli(n, "doctor"); !strings.Contains(out, "WARNING  policy-route") {
		t.Errorf("doctor says nothing of the rule:\n%s", out)
	}
	n.Run("ip", "rule", "del", "pref", "50")
	if out := accepted(t, n, list, lab.TCP(8080, 80)); out != "" {
		t.Errorf("without it ADD says %q", out)
	}
	// What leads to the node itself leads nowhere else.
	n.Run("ip", "route", "add", "local", lab.NodeV4, "dev", "lo", "table", "78")
	for _, rule := range []string{"iif eth0 lookup local", "iif eth0 lookup 78", "fwmark 7 lookup 78"} {
		n.Run(strings.Fields("ip rule add pref 50 " + rule)...)
		if out := accepted(t, n, list, lab.TCP(8080, 80)); out != "" {
			t.Errorf("with %q ADD says %q", rule, out)
		}
		n.Run("ip", "rule", "del", "pref", "50")
	}
}

// Sockets to which nothing for the port comes are in nobody's way.
func TestDeafSockets(t *testing.T) {
	t.Parallel()
	n := lab.NewNode(t, bin, "nft")
	n.Run("ip", "link", "add", "br9", "type", "bridge")
	n.Run("ip", "link", "set", "br9", "up")
	n.ServeOn("br9", "udp4", "0.0.0.0:8140", "of a link that is gone")
	n.Run("ip", "link", "del", "br9")
	n.ServeUDP("udp4", "255.255.255.255:8141", "of broadcasts")
	list := n.Network("net", "4", nil)
	web := n.NewPod("web")
	web.Serve(80, "web")
	for _, port := range []int{8140, 8141} {
		ports := lab.UDP(port, 80)
		if out, err := n.Add(web, list, ports); err != nil || out != "" {
			t.Fatalf("ADD of %d: %v %s", port, err, out)
		}
		want(t, fmt.Sprint(port), n.Client.Who("udp4", fmt.Sprintf("%s:%d", lab.NodeV4, port)), "web")
		if err := n.Del(web, list, ports); err != nil {
			t.Fatal(err)
		}
	}
}

// Cilium marks packets of its proxy's sockets, and leads them by that mark. A port that nobody
// has a socket on is free beside that.
func TestSocketMarks(t *testing.T) {
	t.Parallel()
	n := lab.NewNode(t, bin, "nft")
	list := n.Network("net", "4", nil)
	n.Run("ip", "route", "add", "local", "default", "dev", "lo", "table", "2004")
	n.Run("ip", "rule", "add", "pref", "9", "fwmark", "0x200/0xf00", "lookup", "2004")
	n.Run("ip", "rule", "add", "pref", "100", "lookup", "local")
	n.Run("ip", "rule", "del", "pref", "0")
	n.Iptables("", "-t mangle -A PREROUTING -m socket --transparent -j MARK --set-xmark 0x200/0xffffffff")
	n.Feed("table inet proxy { chain pre { type filter hook prerouting priority mangle; socket transparent 1 meta mark set 0x200; }; }", "nft", "-f", "-")
	pod := n.NewPod("web")
	pod.Serve(80, "web")
	n.MustAdd(pod, list, lab.TCP(8080, 80), lab.UDP(8080, 80))
	want(t, "beside the marks", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
}

// A listener that is bound to a link has what comes in by it, for any address of the node. A
// mapping of an address elsewhere leaves it that, and takes the rest.
func TestBoundToDevice(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, n *lab.Node) {
		t.Parallel()
		list := n.Network("net", "46", nil)
		confDir(t, n, list)
		guest := lab.NewNetns(t, "guest")
		n.Run("ip", "link", "add", "virbr0", "type", "veth", "peer", "name", "eth0", "netns", guest.Name)
		for _, x := range []struct {
			ns   *lab.Netns
			link string
			last string
		}{{n.Netns, "virbr0", "1"}, {guest, "eth0", "2"}} {
			x.ns.Run("ip", "addr", "add", "192.168.122."+x.last+"/24", "dev", x.link)
			x.ns.Run("ip", "addr", "add", "2001:db8:122::"+x.last+"/64", "dev", x.link, "nodad")
			x.ns.Run("ip", "link", "set", x.link, "up")
		}
		guest.Run("ip", "route", "add", "default", "via", "192.168.122.1")
		guest.Run("ip", "route", "add", "default", "via", "2001:db8:122::1")
		pod := n.NewPod("web")
		var ports []lab.Port
		n.ServeOn("virbr0", "tcp4", "0.0.0.0:8053", "dnsmasq")
		n.ServeOn("virbr0", "tcp6", "[::]:8054", "dnsmasq")
		// One of all addresses would answer from that of virbr0.
		n.ServeOn("virbr0", "udp4", lab.NodeV4+":8053", "dnsmasq")
		n.ServeOn("virbr0", "udp6", "["+lab.NodeV6+"]:8054", "dnsmasq")
		pod.Serve(80, "web")
		for _, port := range []func(int, int) lab.Port{lab.TCP, lab.UDP} {
			ports = append(ports, port(8053, 80).On(lab.NodeV4), port(8054, 80).On(lab.NodeV6), port(8054, 80).On(lab.NodeV4))
		}
		nodes := map[string]string{"4": lab.NodeV4 + ":8053", "6": "[" + lab.NodeV6 + "]:8054"}
		still := func() {
			t.Helper()
			want(t, "the guest at the link's address", guest.Who("tcp4", "192.168.122.1:8053"), "dnsmasq")
			want(t, "the guest at the link's other address", guest.Who("tcp6", "[2001:db8:122::1]:8054"), "dnsmasq")
			for _, network := range []string{"tcp", "udp"} {
				for f, addr := range nodes {
					want(t, "the guest at "+addr+" "+network, guest.Who(network+f, addr), "dnsmasq")
				}
			}
		}
		others := func(who string) {
			t.Helper()
			for _, network := range []string{"tcp", "udp"} {
				for f, addr := range nodes {
					want(t, "a client at "+addr+" "+network, n.Client.Who(network+f, addr), who)
					want(t, "the node itself at "+addr+" "+network, n.Who(network+f, addr), who)
				}
			}
		}
		still()
		refused(t, n, list, 100, []string{"listens on 0.0.0.0%virbr0:8053;"}, lab.TCP(8053, 80))
		refused(t, n, list, 100, []string{"listens on 0.0.0.0%virbr0:8053, which receives what comes in by virbr0 for any address of the node"}, lab.TCP(8053, 80).On("192.168.122.1"))
		refused(t, n, list, 100, []string{"listens on [::%virbr0]:8054, which receives"}, lab.TCP(8054, 80).On("2001:db8:122::1"))
		before := n.Rules()
		n.MustAdd(pod, list, ports...)
		still()
		others("web")
		checked := func() {
			t.Helper()
			if err := n.Check(pod, list, ports...); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			for where, e := range listed(t, n) {
				want(t, where, string(e.State), "ok")
			}
		}
		checked()
		for _, ask := range []string{nodes["4"] + "/tcp", nodes["6"] + "/udp"} {
			out, _ := cli(n, "explain", ask)
			for _, says := range []string{") if it comes by virbr0", "to pod default/web (hostPort) if it comes by eth0"} {
				if !strings.Contains(out, says) {
					t.Errorf("explain says nothing of %q:\n%s", says, out)
				}
			}
		}

		// Rules that are lost come back as they were.
		if n.Native() {
			n.Run("nft", "delete", "table", "inet", "portguard")
		} else {
			for _, v := range []string{"", "6"} { // the bridge plugin's too
				n.Run("sh", "-c", "ip"+v+"tables -t nat -F; ip"+v+"tables -t nat -X")
			}
		}
		if out, err := cli(n, "restore"); err != nil {
			t.Errorf("restore: %v\n%s", err, out)
		}
		still()
		others("web")
		checked()
		if err := n.Del(pod, list, ports...); err != nil {
			t.Errorf("DEL: %v", err)
		}
		if n.Native() {
			unchanged(t, n, before)
		} else if strings.Contains(n.Rules(), "PGD-") {
			t.Errorf("rules are left:\n%s", n.Rules())
		}
		still()
		others("")
	})
}
