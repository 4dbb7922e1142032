// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// A broken node is one that somebody on call is sent to.
type broken struct {
	name string
	// complaint is all that is known: who sends packets to what, and gets no answer of the pod.
	complaint string
	// how breaks the node after its pod got 8080/tcp.
	how func(t *testing.T, n *lab.Node, web *lab.Pod)
	// port is what explain is asked.
	port string
	// cause and remedy are said by the commands.
	cause, remedy string
}

func nodes() []broken {
	sh := func(script string) func(*testing.T, *lab.Node, *lab.Pod) {
		return func(_ *testing.T, n *lab.Node, _ *lab.Pod) { n.Run("sh", "-ec", script) }
	}
	return []broken{
		{"docker was installed", "8080 times out from outside, and works from the node", func(t *testing.T, n *lab.Node, _ *lab.Pod) {
			container(t, n)
			load(n, "docker-published.iptables", filters(t, "docker-published.iptables", ""))
			n.Run("iptables", "-P", "FORWARD", "DROP")
		}, "8080/tcp", "dropped by the policy of iptables-nft IPv4 filter FORWARD", "it is docker's: iptables-nft -I DOCKER-USER -m conntrack --ctstate DNAT -j ACCEPT"},
		{"a Service got the number as its NodePort", "8080 shows another application since this morning", func(_ *testing.T, n *lab.Node, _ *lab.Pod) {
			n.KubeProxy("10.88.0.200:80")
			n.Iptables("", "-t nat -A KUBE-NODEPORTS -p tcp -m comment --comment shop/cart:http --dport 8080 -j KUBE-EXT-CDGGSHYLG3RE2FKL")
		}, "8080/tcp", "Service shop/cart:http (NodePort) takes its traffic", "change the Service's nodePort"},
		{"nftables was restarted", "8080 is refused on this node only", sh("nft flush ruleset"), "8080/tcp", "its rules are gone", "portguard restore"},
		{"somebody hardened sysctls", "8080 times out from outside, and works from the node", sh("sysctl -qw net.ipv4.conf.eth0.forwarding=0"), "8080/tcp",
			"eth0 does not forward", "sysctl -w net.ipv4.conf.eth0.forwarding=1"},
		{"firewalld is in panic mode", "nothing on the node answers any more", func(t *testing.T, n *lab.Node, _ *lab.Pod) {
			load(n, "firewalld-panic.nft", filters(t, "firewalld-panic.nft", ""))
		}, "8080/tcp", "firewalld_policy_drop", "firewall-cmd --panic-off"},
		{"the floating address moved away", "192.0.2.99:8081 does not answer", sh("ip addr del 192.0.2.99/32 dev eth0"), "192.0.2.99:8081/tcp",
			"waiting for its address: 192.0.2.99 is none of the node's", "give the node that address, or the pod another hostIP"},
		{"the node got a second uplink", "8080 times out from some clients", func(_ *testing.T, n *lab.Node, _ *lab.Pod) {
			n.Run("sh", "-ec", `ip link add eth1 type veth peer name eth1 netns `+n.Client.Name+`
				sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth1.rp_filter=2 net.ipv4.conf.eth0.rp_filter=2
				ip addr add 198.51.100.1/24 dev eth1; ip link set eth1 up; ip route add default via `+lab.ClientV4+`
				ip route add default via 198.51.100.2 dev eth1 table 200; ip rule add from 198.51.100.0/24 lookup 200`)
		}, "8080/tcp", "answers leave by eth0", "--restore-mark; ip rule add fwmark"},
		{"a proxy takes all connections", "8080 shows a login page of something else", sh("iptables -t nat -I PREROUTING -i eth0 -p tcp -j REDIRECT --to-ports 15001"), "8080/tcp",
			"REDIRECT takes its traffic", "it takes all ports that come to it: let it leave this one out (RETURN before it), or remove that rule (iptables-nft -t nat -D PREROUTING -i eth0 -p tcp -j REDIRECT --to-ports 15001)"},
		{"the bridge of the pods went down", "8080 times out from everywhere", sh("ip link set cni0 down"), "8080/tcp", "there is no route to 10.88.0.2", "ip route get 10.88.0.2"},
		{"somebody spared connection tracking", "8080 times out from outside, and works from the node", sh("iptables -t raw -A PREROUTING -p tcp --dport 8080 -j NOTRACK"), "8080/tcp",
			"taken out of connection tracking, so that nothing translates it, by iptables-nft IPv4 raw PREROUTING", "iptables-nft -t raw -D PREROUTING -p tcp -m tcp --dport 8080 -j NOTRACK"},
		{"pods go out by a tunnel", "8080 times out from outside since there is the tunnel", sh(`ip link add tun9 type veth peer name tun9p; ip addr add 10.250.0.1/24 dev tun9; ip link set tun9 up; ip link set tun9p up
			ip route add default dev tun9 table 300; ip rule add from 10.88.0.0/16 lookup 300`), "8080/tcp", "answers leave by tun9", "--restore-mark; ip rule add fwmark"},
		{"pods may not reach the internet", "8080 times out from outside, and works from the node", sh("iptables -t mangle -A POSTROUTING -s 10.88.0.0/16 -o eth0 -j DROP"), "8080/tcp",
			"the answer is lost: dropped by iptables-nft IPv4 mangle POSTROUTING", "iptables-nft -t mangle -I POSTROUTING -m conntrack --ctstate DNAT -j ACCEPT"},
		{"a route takes the pod's address", "8080 times out from everywhere", sh("ip route add blackhole 10.88.0.2"), "8080/tcp", "there is no route to 10.88.0.2", "does a route of type blackhole, unreachable or prohibit lead there"},
		{"one client is let in", "8080 times out from all but one", sh("nft add table inet fw; nft add chain inet fw pre '{ type filter hook prerouting priority -150; }'; nft add rule inet fw pre ip saddr != 192.0.2.77 tcp dport 8080 drop"), "8080/tcp",
			`dropped by nftables inet fw pre: "ip saddr != 192.0.2.77 tcp dport 8080 drop"`, "nft delete rule inet fw pre handle 2"},
		{"the program in the pod stopped", "8080 is refused from everywhere", func(_ *testing.T, _ *lab.Node, web *lab.Pod) { web.Stop() }, "8080/tcp",
			"nothing listens on 80/tcp in the pod", "start it"},
		{"it listens for itself", "8080 is refused since the new version", func(_ *testing.T, _ *lab.Node, web *lab.Pod) {
			web.Stop()
			web.ServeTCP("tcp4", "127.0.0.1:80", "web")
		}, "8080/tcp", "in the pod 80/tcp is listened on at 127.0.0.1 only", "let it listen on all addresses"},
		{"the network of the node was restarted", "8080 times out from everywhere", sh("ip link set $(ip -br link show master cni0 | cut -d@ -f1) nomaster"), "8080/tcp",
			", the node's end of eth0 in the pod, is not in bridge cni0 any more", " master cni0"},
		{"a VPN came and went in the pod", "8080 times out from outside, and works from the node", func(_ *testing.T, _ *lab.Node, web *lab.Pod) { web.Run("ip", "route", "del", "default") }, "8080/tcp",
			"the answer is lost: the pod has no route to", "ip route replace default via 10.88.0.1 dev eth0"},
		{"a script knows the MACs of pods", "8080 times out from everywhere since the pod was started again", sh("ip neigh replace 10.88.0.2 lladdr 02:00:00:00:00:99 dev cni0"), "8080/tcp",
			"a permanent neighbour entry says that 10.88.0.2 is at 02:00:00:00:00:99", "ip neigh del 10.88.0.2 dev cni0"},
	}
}

// Nodes that were broken in as many ways, looked at with nothing but the commands: all give away
// cause and remedy. They come in any order, and with -v without a name.
func TestOnCall(t *testing.T) {
	t.Parallel()
	all := nodes()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	told := 0
	for i, b := range all {
		n := lab.NewNode(t, bin, "nft")
		inMemory(t, n)
		list := n.Network("net", "4", nil)
		confDir(t, n, list)
		n.Run("ip", "addr", "add", "192.0.2.99/32", "dev", "eth0")
		web := n.NewPod("web")
		web.Serve(80, "web")
		n.MustAdd(web, list, lab.TCP(8080, 80), lab.TCP(8081, 80).On("192.0.2.99"))
		want(t, "before", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
		b.how(t, n, web)
		var out strings.Builder
		fmt.Fprintf(&out, "node %d: %s\n", i+1, b.complaint)
		for _, args := range [][]string{{"list"}, {"doctor"}, {"explain", b.port}} {
			text, _ := cli(n, args...)
			fmt.Fprintf(&out, "# portguard %s\n%s\n", strings.Join(args, " "), text)
		}
		t.Log(out.String())
		if strings.Contains(out.String(), b.cause) && strings.Contains(out.String(), b.remedy) {
			told++
		} else if dir := os.Getenv("ONCALL"); dir != "" {
			_ = os.WriteFile(filepath.Join(dir, b.name), []byte(out.String()), 0o600)
		}
	}
	if told < len(all) {
		t.Errorf("%d of %d nodes give away cause and remedy", told, len(all))
	}
}
