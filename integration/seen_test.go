// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
)

// Broadcasts and multicasts go to sockets of the node, pods or not: explain says so where a
// pod has the port, and of such an address itself.
func TestBroadcasts(t *testing.T) {
	t.Parallel()
	n, _ := serving(t, lab.Conf{"reserve": "off"}, lab.UDP(5353, 80)) // a listener comes later
	want(t, "a broadcast", shout(t, n, "192.0.2.255:5353"), "")
	if a := ask(t, n, "5353/udp"); !strings.Contains(a.Group, "go to no pod") || !strings.Contains(a.Group, "nobody on the node has them") {
		t.Errorf("explain says %q", a.Group)
	}
	n.ServeUDP("udp4", "0.0.0.0:5353", "mdns")
	want(t, "the hostPort", n.Client.Who("udp4", lab.NodeV4+":5353"), "web")
	want(t, "a broadcast", shout(t, n, "192.0.2.255:5353"), "mdns")
	if a := ask(t, n, "5353/udp"); !strings.Contains(a.Group, ") has them.") {
		t.Errorf("explain says %q", a.Group)
	}
	for addr, what := range map[string]string{"192.0.2.255": "a broadcast address", "224.0.0.251": "a multicast address"} {
		a := ask(t, n, addr+":5353/udp")
		if !strings.Contains(a.Group, what) || !strings.Contains(a.Group, ") has them.") || a.Decision.Allowed || a.Foreign {
			t.Errorf("explain says %+v of %s", a, addr)
		}
		if out, _ := cli(n, "explain", addr+":5353/udp"); strings.Contains(out, "has no way") || !strings.Contains(out, what) {
			t.Errorf("explain prints\n%s", out)
		}
	}
	if a := ask(t, n, "5354/udp"); a.Group != "" {
		t.Errorf("explain says %q of a port that no pod has", a.Group)
	}
}

// An address may be its own broadcast, as DHCP of some clouds gives it: packets to it are for the
// node, as long as its route comes before that of the broadcast.
func TestOwnBroadcast(t *testing.T) {
	const own, port = "203.0.113.5", "8080"
	onBackends(t, func(t *testing.T, n *lab.Node) {
		t.Parallel()
		list := n.Network("net", "4", nil)
		confDir(t, n, list)
		n.Run("ip", "addr", "add", own+"/32", "brd", own, "dev", "eth0")
		n.Client.Run("ip", "route", "add", own, "via", lab.NodeV4)
		pod := n.NewPod("web")
		pod.Serve(80, "web")
		outside := map[string]*lab.Netns{"outside": n.Client, "node": n.Netns}
		for _, ports := range []lab.Port{lab.TCP(8080, 80), lab.TCP(8080, 80).On(own)} {
			n.MustAdd(pod, list, ports)
			whoHas(t, "after ADD", outside, port, "web", own)
			if a := ask(t, n, own+":8080/tcp"); a.Group != "" {
				t.Errorf("explain says %q", a.Group)
			}
			if err := n.Bind(lab.Socket{Network: "tcp4", Addr: own}, 8080); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("a bind of %+v: %v", ports, err)
			}
			if err := n.Del(pod, list, ports); err != nil {
				t.Fatal(err)
			}
		}
		n.ServeTCP("tcp4", own+":8080", "host")
		for _, ports := range []lab.Port{lab.TCP(8080, 80), lab.TCP(8080, 80).On(own)} {
			refused(t, n, list, 100, []string{"listens on " + own + ":8080"}, ports)
		}
		whoHas(t, "after the refusals", outside, port, "host", own)
		// The route of the broadcast first.
		n.Run("ip", "addr", "del", own+"/32", "dev", "eth0")
		n.Run("ip", "addr", "add", "203.0.113.1/32", "brd", own, "dev", "eth0")
		n.Run("ip", "addr", "add", own+"/32", "dev", "eth0")
		refused(t, n, list, 7, []string{own + " is a broadcast address"}, lab.TCP(8080, 80).On(own))
		if out := accepted(t, n, list, lab.TCP(8080, 80)); out != "" {
			t.Errorf("of a port of broadcasts ADD says %q", out)
		}
	})
}

// shout sends a packet to many, and returns who answers.
func shout(t *testing.T, n *lab.Node, to string) (who string) {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		t.Fatal(err)
	}
	n.Client.Do(func() {
		c, err := net.ListenPacket("udp4", ":0")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		b := make([]byte, 100)
		if _, err = c.WriteTo([]byte("?"), addr); err == nil {
			k, _, _ := c.ReadFrom(b)
			who, _, _ = strings.Cut(string(b[:k]), " ")
		}
	})
	return who
}

// Somebody's masquerade hides the client from the pod; explain names the rule.
func TestMaskedClients(t *testing.T) {
	t.Parallel()
	n, _ := serving(t, nil, lab.TCP(8080, 80))
	for _, tt := range []struct{ name, do, undo, sees, masked string }{
		{"nobody's", "true", "true", lab.ClientV4, ""},
		{"of another network", "iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", "iptables -t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", lab.ClientV4, ""},
		{"flannel's", "iptables -t nat -A POSTROUTING ! -s 10.88.0.0/16 -d 10.88.0.0/16 -j MASQUERADE", "iptables -t nat -D POSTROUTING ! -s 10.88.0.0/16 -d 10.88.0.0/16 -j MASQUERADE",
			"10.88.0.1", `iptables-nft IPv4 nat POSTROUTING: "! -s 10.88.0.0/16 -d 10.88.0.0/16 -j MASQUERADE"`},
		{"in nftables", "nft add table ip m; nft 'add chain ip m p { type nat hook postrouting priority 100; }'; nft add rule ip m p oifname cni0 snat to 10.88.0.1", "nft delete table ip m",
			"10.88.0.1", `nftables ip m p: "oifname \"cni0\" snat to 10.88.0.1"`},
	} {
		n.Run("sh", "-ec", tt.do)
		want(t, tt.name, n.Client.Get("tcp4", lab.NodeV4+":8080"), "web "+tt.sees)
		for _, o := range ask(t, n, lab.NodeV4+":8080/tcp").Outside {
			if o.Masked != tt.masked {
				t.Errorf("%s: explain says %q, want %q", tt.name, o.Masked, tt.masked)
			}
		}
		if out, _ := cli(n, "explain", "8080/tcp"); strings.Contains(out, "sees an address of the node as the client, because of ") != (tt.masked != "") {
			t.Errorf("%s: explain prints\n%s", tt.name, out)
		}
		n.Run("sh", "-ec", tt.undo)
	}
	all, other := n.Network("net", "4", lab.Conf{"masqAll": true}), n.NewPod("other")
	other.Serve(80, "other")
	n.MustAdd(other, all, lab.TCP(8081, 80))
	want(t, "masqAll", n.Client.Get("tcp4", lab.NodeV4+":8081"), "other 10.88.0.1")
	for _, o := range ask(t, n, lab.NodeV4+":8081/tcp").Outside {
		if o.Masked != "masqAll of network net" {
			t.Errorf("masqAll: explain says %q", o.Masked)
		}
	}
}
