// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/explain"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/way"
)

// A severing is what is done to a pod's own network, or to the node's end of it.
type severing struct {
	name string
	// node and pod are commands; in them VETH is the node's end of the link.
	node, pod string
	// check is that of doctor's finding for IPv4 and IPv6, "" if that goes on; says is a part.
	check4, check6 string
	says           string
	// remedy says that the remedy is a command that helps.
	remedy bool
	// traffic is needed for the kernel to notice.
	traffic bool
}

// What is wrong in a pod, or between it and the node, is found by all commands, where traffic
// says so, in either family; and the remedy helps.
func TestPodLinkIsTrue(t *testing.T) {
	t.Parallel()
	const mac = "lladdr 02:00:00:00:00:99"
	for _, s := range []severing{
		{name: "nothing"},
		{name: "the pod's link is down", pod: "ip link set eth0 down", check4: way.CheckLink, check6: way.CheckLink, says: "eth0 in the pod is down"},
		{name: "it was down, and is up", pod: "ip link set eth0 down; ip link set eth0 up", check4: way.CheckRoute, check6: way.CheckRoute, says: "the pod has no route to"},
		{name: "it is gone", pod: "ip link del eth0", check4: way.CheckLink, check6: way.CheckLink, says: "the pod has no link eth0 any more"},
		{name: "the node's end is down", node: "ip link set VETH down", check4: way.CheckLink, check6: way.CheckLink, says: "VETH, the node's end of eth0 in the pod, is down", remedy: true},
		{name: "it left the bridge", node: "ip link set VETH nomaster", check4: way.CheckLink, check6: way.CheckLink, says: "VETH, the node's end of eth0 in the pod, is not in bridge cni0 any more", remedy: true},
		{name: "the bridge is down", node: "ip link set cni0 down", check4: way.CheckRoute, check6: way.CheckRoute, says: "cni0 is down"},
		{name: "the bridge is gone", node: "ip link del cni0", check4: way.CheckRoute, check6: way.CheckRoute, says: "cni0 is gone"},
		{name: "no default route", pod: "ip route del default", check4: way.CheckRoute, says: "the answer is lost: the pod has no route to"},
		{name: "no default route of IPv6", pod: "ip -6 route del default", check6: way.CheckRoute, says: "the answer is lost: the pod has no route to"},
		{name: "a blackhole", pod: "ip route add blackhole 192.0.2.0/24", check4: way.CheckRoute, says: "the pod has no route to 192.0.2.2"},
		{name: "a prohibiting rule for its source", pod: "ip rule add from 10.88.0.2 to 192.0.2.0/24 prohibit", check4: way.CheckRoute, says: "the pod has no route to 192.0.2.2"},
		{name: "a strict rp_filter", pod: "ip link add net1 type veth peer name net2; ip link set net1 up; ip link set net2 up; ip route add 192.0.2.0/24 dev net1; sysctl -qw net.ipv4.conf.all.rp_filter=1",
			check4: way.CheckReverse, says: "rp_filter of eth0 in the pod is strict"},
		{name: "a tunnel", pod: "ip tuntap add tun0 mode tun; ip addr add 10.8.0.2/24 dev tun0; ip link set tun0 up; ip route replace default dev tun0", check4: way.CheckAnswer, says: "the pod's way to 192.0.2.2 is by tun0, past the node"},
		{name: "a card of the node", node: "ip link add link eth0 name net1 type macvlan mode bridge; ip link set net1 netns POD", pod: "ip addr add 192.0.2.77/24 dev net1; ip link set net1 up", check4: way.CheckAnswer, says: "the pod's way to 192.0.2.2 is by net1, past the node"},
		{name: "no address", pod: "ip addr flush dev eth0 scope global; ip -6 addr flush dev eth0 scope global", check4: way.CheckAddress, check6: way.CheckAddress, says: "has not got its address"},
		{name: "another address", pod: "ip addr del 10.88.0.2/16 dev eth0; ip addr add 10.88.0.99/16 dev eth0; ip route replace default via 10.88.0.1", check4: way.CheckAddress, says: "the pod has not got its address 10.88.0.2 any more, but 10.88.0.99"},
		{name: "a wrong neighbour on the node", node: "ip neigh replace 10.88.0.2 dev cni0 " + mac, check4: way.CheckNeighbour, says: "a permanent neighbour entry says that 10.88.0.2 is at 02:00:00:00:00:99", remedy: true},
		{name: "and of IPv6", node: "ip neigh replace fd00:88::2 dev cni0 " + mac, check6: way.CheckNeighbour, says: "a permanent neighbour entry says that fd00:88::2 is at", remedy: true},
		{name: "a wrong neighbour in the pod", pod: "ip neigh replace 10.88.0.1 dev eth0 " + mac, check4: way.CheckNeighbour, says: "a permanent neighbour entry in the pod says that 10.88.0.1 is at", remedy: true},
		{name: "and of IPv6 there", pod: "ip neigh replace fd00:88::1 dev eth0 " + mac, check6: way.CheckNeighbour, says: "a permanent neighbour entry in the pod says that fd00:88::1 is at", remedy: true},
		{name: "nobody hears the node ask", node: "nft add table bridge f; for h in input output; do nft \"add chain bridge f $h { type filter hook $h priority 0; }\"; nft add rule bridge f $h ether type arp drop; done; ip neigh flush dev cni0",
			check4: way.CheckNeighbour, says: "nobody on cni0 answers for 10.88.0.2", traffic: true},
		{name: "nobody hears the pod ask", node: "nft add table bridge f; nft 'add chain bridge f o { type filter hook input priority 0; }'; nft add rule bridge f o ether type arp drop; ip neigh replace 10.88.0.2 dev cni0 lladdr MAC", pod: "ip neigh flush dev eth0",
			check4: way.CheckNeighbour, says: "nobody answers the pod for 10.88.0.1", traffic: true},
		{name: "the right neighbour", node: "ip neigh replace 10.88.0.2 dev cni0 lladdr MAC"},
		{name: "an old failure", node: "ip neigh replace 10.88.0.2 dev cni0 nud failed; ip neigh replace fd00:88::2 dev cni0 nud failed", pod: "ip neigh replace 10.88.0.1 dev eth0 nud failed"},
		{name: "a rule of the pod for its source", pod: "ip rule add from 10.88.0.2 lookup 77; ip route add default via 10.88.0.1 table 77; ip route del default"},
		{name: "a mark of the pod", pod: "ip rule add fwmark 5 lookup 77; ip route add default via 10.88.0.1 table 77; ip route del default; sysctl -qw net.ipv4.tcp_fwmark_accept=1; nft add table ip m; nft 'add chain ip m p { type filter hook prerouting priority -150; meta mark set 5; }'"},
		{name: "another link", pod: "ip link add net1 type veth peer name net2; ip addr add 10.99.9.9/24 dev net1; ip link set net1 up"},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			n := lab.NewNode(t, bin, "nft")
			list := n.Network("net", "46", nil)
			confDir(t, n, list)
			web := n.NewPod("web")
			web.Serve(80, "web")
			n.MustAdd(web, list, lab.TCP(8080, 80))
			want(t, "before", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
			fill := strings.NewReplacer("VETH", strings.TrimSpace(n.Run("sh", "-c", "ip -br link show master cni0 | cut -d@ -f1")), "MAC", strings.Fields(web.Run("ip", "-br", "link", "show", "eth0"))[2], "POD", web.Name)
			asks := n.NewPod("asks")
			n.MustAdd(asks, list)
			n.Run("sh", "-ec", fill.Replace(s.node))
			web.Run("sh", "-ec", s.pod)
			if s.traffic {
				want(t, "severed", n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
			}
			severed(t, n, asks, s.check4, s.check6, fill.Replace(s.says), s.remedy)
		})
	}
}

// severed compares all commands with traffic, and follows the remedy.
func severed(t *testing.T, n *lab.Node, asks *lab.Pod, check4, check6, says string, remedy bool) {
	t.Helper()
	found, _ := diagnosis(t, n)
	var told strings.Builder
	for _, question := range []string{lab.NodeV4, "[" + lab.NodeV6 + "]"} { // the node asks with that as its address
		sides(t, n, asks, explain.Answer{Question: explain.Question{Port: 8080}, Localhost: ask(t, n, question+":8080/tcp").Localhost})
	}
	for addr, check := range map[string]string{"0.0.0.0": check4, "[::]": check6} {
		a := ask(t, n, addr+":8080/tcp")
		if n.Run("ip", "-br", "link", "show", "type", "bridge") == "" {
			a.Pod = nil // nothing comes from pods
		}
		sides(t, n, asks, a)
		e := listed(t, n)[strings.Trim(addr, "[]")+" 8080/tcp"]
		for _, o := range a.Outside {
			if (o.Closed != "") != (check != "") || o.Unheard != "" {
				t.Errorf("%s: explain says %+v, want %q", addr, o, check)
			}
			told.WriteString(o.Closed)
		}
		if (e.State == inventory.Closed) != (check != "") || e.State != inventory.OK && check == "" {
			t.Errorf("%s: list says %s: %s, want %q", addr, e.State, e.Reason, check)
		}
		if check != "" && found[check].Remedy == "" {
			t.Errorf("%s: doctor says %+v, want %q", addr, found, check)
		}
		told.WriteString(e.Reason)
		counted(t, n, e)
	}
	for _, c := range way.Checks() {
		if f, ok := found[c]; ok && c != check4 && c != check6 {
			t.Errorf("doctor says %+v", f)
		}
	}
	if !strings.Contains(told.String(), says) {
		t.Errorf("%q is not said: %s", says, &told)
	}
	if remedy {
		n.Run("sh", "-ec", found[check4+map[bool]string{true: check6}[check4 == ""]].Remedy)
		time.Sleep(1500 * time.Millisecond) // the bridge learns late of a link that is up (LW_DELAY)
		severed(t, n, asks, "", "", "", false)
	}
}
