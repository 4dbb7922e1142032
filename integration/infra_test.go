// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/doctor"
)

// The addresses of a link of infrastructure, which stand for those of Services.
const (
	serviceV4 = "10.96.0.1"
	serviceV6 = "fd00:96::1"
)

// carry gives a link single addresses. The kernel here need not have links of type dummy.
func carry(n *lab.Node, link string, addrs ...string) {
	n.Run("ip", "link", "add", "name", link, "type", "bridge")
	n.Run("ip", "link", "set", link, "up")
	hold(n, link, addrs...)
}

// hold gives it more.
func hold(n *lab.Node, link string, addrs ...string) {
	for _, a := range addrs {
		if strings.Contains(a, ":") {
			n.Run("ip", "addr", "add", a+"/128", "dev", link, "nodad")
		} else {
			n.Run("ip", "addr", "add", a+"/32", "dev", link)
		}
	}
}

// askers are who may want something of the node: the node itself, a machine outside, which
// has its routes by it, and a pod.
func askers(n *lab.Node, pod *lab.Pod) map[string]*lab.Netns {
	return map[string]*lab.Netns{"the node": n.Netns, "outside": n.Client, "a pod": pod.Netns}
}

// whoHas asks from everywhere.
func whoHas(t *testing.T, when string, from map[string]*lab.Netns, port, is string, addrs ...string) {
	t.Helper()
	for who, ns := range from {
		for _, a := range addrs {
			network, to := map[bool]string{true: "tcp6", false: "tcp4"}[strings.Contains(a, ":")], net.JoinHostPort(a, port)
			got := ns.Who(network, to)
			for try := 0; got == "" && is != "" && try < 3; try++ { // the first to ask may have to find a neighbour
				got = ns.Who(network, to)
			}
			want(t, fmt.Sprintf("%s, from %s to %s", when, who, to), got, is)
		}
	}
}

// besideEach runs a test beside others with nftables and with each iptables.
func besideEach(t *testing.T, f func(t *testing.T, n *lab.Node)) {
	t.Helper()
	for _, tc := range [][2]string{{"nftables", "nft"}, {"iptables", "nft"}, {"iptables", "legacy"}} {
		t.Run(tc[0]+"-"+tc[1], func(t *testing.T) {
			t.Parallel()
			f(t, newNode(t, tc[0], tc[1]))
		})
	}
}

// A named call.
type named struct {
	name string
	call func() error
}

// callsOfAnybody are calls of a runtime and of people that are about another pod than those
// which stay, or about none.
func callsOfAnybody(n *lab.Node, list string, third *lab.Pod, stay ...*lab.Pod) []named {
	return []named{
		{"ADD", func() error { _, err := n.Add(third, list, lab.TCP(9443, 443)); return err }},
		{"DEL", func() error { return n.Del(third, list) }},
		{"GC", func() error {
			_, _, err := n.Call("GC", stay[0], collect(n, "net", validAre(stay...)))
			return err
		}},
		{"restore", func() error { _, err := cli(n, "restore"); return err }},
		{"gc", func() error { _, err := cli(n, "gc"); return err }},
	}
}

// Addresses of infrastructure are never taken, on any port, from anywhere: neither those
// that are there, nor those that come later.
func TestInfrastructureLinks(t *testing.T) {
	besideEach(t, func(t *testing.T, n *lab.Node) {
		links := []string{"kube-dummy-if", "kube-lb0", "nodelocaldns", "lb7", "vips"}
		addrs := []string{}
		for i, link := range links {
			v4, v6 := fmt.Sprintf("10.96.%d.1", i), fmt.Sprintf("fd00:96::%d:1", i)
			carry(n, link, v4, v6)
			addrs = append(addrs, v4, v6)
		}
		for _, a := range addrs {
			n.ServeTCP("tcp", net.JoinHostPort(a, "443"), "service")
		}
		pod, other := n.NewPod("web"), n.NewPod("other")
		pod.Serve(443, "pod")
		before := n.Rules()
		list := n.Network("net", "46", lab.Conf{"excludeInterfaces": []string{"lb*", "vips"}})
		n.MustAdd(pod, list, lab.TCP(443, 443), lab.TCP(8090, 443))
		n.MustAdd(other, list)
		from := askers(n, other)
		whoHas(t, "a port of a Service", from, "443", "service", addrs...)
		whoHas(t, "a port of none", from, "8090", "", addrs...)
		whoHas(t, "the node's own", from, "8090", "pod", lab.NodeV4, lab.NodeV6)
		want(t, "localhost", n.Who("tcp4", "127.0.0.1:8090"), "pod")

		hold(n, "kube-dummy-if", "10.96.9.9", "fd00:96::9:9")
		whoHas(t, "an address that came later", from, "8090", "", "10.96.9.9", "fd00:96::9:9")
		for i, a := range []string{"10.96.0.1", "10.96.3.1", "fd00:96::4:1"} {
			words := []string{[]string{"address of a Service (on kube-dummy-if)", "on lb7, which excludeInterfaces names", "on vips, which excludeInterfaces names"}[i]}
			refused(t, n, list, 105, words, lab.TCP(9000, 443).On(a))
		}

		plain := n.Network("plain", "46", nil) // which excludes nothing
		third := n.NewPod("third")
		n.MustAdd(third, plain, lab.TCP(9001, 443))
		whoHas(t, "beside another network", from, "8090", "", addrs...)
		whoHas(t, "of another network", from, "9001", "", addrs...)
		if err := n.Check(pod, list, lab.TCP(443, 443), lab.TCP(8090, 443)); err != nil {
			t.Errorf("CHECK: %v", err)
		}
		for p, l := range map[*lab.Pod]string{pod: list, other: list, third: plain} {
			if err := n.Del(p, l); err != nil {
				t.Error(err)
			}
		}
		unchanged(t, n, before)
	})
}

// An address of the node that a link of infrastructure has, too, is left alone. ADD and doctor say so.
func TestInfrastructureSharesAnAddress(t *testing.T) {
	besideEach(t, func(t *testing.T, n *lab.Node) {
		pod := n.NewPod("web")
		pod.Serve(80, "pod")
		list := n.Network("net", "46", nil)
		confDir(t, n, list)
		carry(n, "kube-dummy-if", lab.NodeV4)
		words := "not mapped at " + lab.NodeV4 + ": link kube-dummy-if, which carries"
		if told := n.MustAdd(pod, list, lab.TCP(8080, 80)); !strings.Contains(told, words) {
			t.Errorf("ADD said %q, and not %q", told, words)
		}
		from := map[string]*lab.Netns{"outside": n.Client}
		whoHas(t, "on two links", from, "8080", "", lab.NodeV4)
		whoHas(t, "on two links", from, "8080", "pod", lab.NodeV6)
		if found, fit := diagnosis(t, n); !fit || found["not-own"].Severity != doctor.Warning || !strings.Contains(found["not-own"].Message, words) {
			t.Errorf("doctor: %+v", found)
		}
		n.Run("ip", "addr", "del", lab.NodeV4+"/32", "dev", "kube-dummy-if")
		other := n.NewPod("other")
		if told := n.MustAdd(other, list, lab.TCP(8081, 80)); strings.Contains(told, words) {
			t.Errorf("ADD said %q", told)
		}
		whoHas(t, "on one link", from, "8080", "pod", lab.NodeV4, lab.NodeV6)
	})
}

// A link of infrastructure that comes after a pod: doctor says so, and the next call of
// anybody leaves its addresses alone. There an address of the node's own waits for a call.
func TestInfrastructureComesLater(t *testing.T) {
	besideEach(t, func(t *testing.T, n *lab.Node) {
		pod, other, third := n.NewPod("web"), n.NewPod("other"), n.NewPod("third")
		pod.Serve(443, "pod")
		list := n.Network("net", "46", nil)
		confDir(t, n, list)
		n.MustAdd(pod, list, lab.TCP(443, 443), lab.UDP(443, 443))
		n.MustAdd(other, list, lab.TCP(8443, 443))
		addrs := []string{serviceV4, serviceV6}
		from := askers(n, other)
		for i, tc := range callsOfAnybody(n, list, third, pod, other) {
			floating, another := fmt.Sprintf("192.0.2.%d", 50+i), fmt.Sprintf("192.0.2.%d", 60+i)
			carry(n, "kube-dummy-if", addrs...)
			whoHas(t, "before "+tc.name+" (is there anything to mend?)", from, "443", "pod", addrs...)
			if found, fit := diagnosis(t, n); fit || !strings.Contains(found["not-own"].Message, "kube-dummy-if") {
				t.Errorf("doctor before %s: %+v", tc.name, found)
			}
			flow := n.Client.Open("udp4", serviceV4+":443")
			want(t, "a flow before "+tc.name, strings.Fields(lab.Ask(flow) + " -")[0], "pod")
			if err := tc.call(); err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			want(t, "the flow after "+tc.name, lab.Ask(flow), "")
			whoHas(t, "after "+tc.name, from, "443", "", addrs...)
			whoHas(t, "after "+tc.name, from, "443", "pod", lab.NodeV4, lab.NodeV6)
			if found, fit := diagnosis(t, n); !fit || found["not-own"].Check != "" {
				t.Errorf("doctor after %s: %+v", tc.name, found)
			}
			n.Run("ip", "addr", "add", floating+"/32", "dev", "eth0")
			want(t, "an address that waits", n.Client.Who("tcp4", floating+":443"), "")
			if found, fit := diagnosis(t, n); !fit || found["not-own"].Severity != doctor.Warning || !strings.Contains(found["not-own"].Message, floating) {
				t.Errorf("doctor after %s and an address: %+v", tc.name, found)
			}
			if err := n.Check(pod, list, lab.TCP(443, 443), lab.UDP(443, 443)); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			if _, err := cli(n, "restore"); err != nil {
				t.Error(err)
			}
			want(t, "an address after a call", n.Client.Who("tcp4", floating+":443"), "pod")
			n.Run("ip", "link", "del", "kube-dummy-if")
			if _, err := cli(n, "restore"); err != nil {
				t.Error(err)
			}
			n.Run("ip", "addr", "add", another+"/32", "dev", "eth0")
			want(t, "an address at once, without such a link", n.Client.Who("tcp4", another+":443"), "pod")
			n.Run("ip", "addr", "del", floating+"/32", "dev", "eth0")
			n.Run("ip", "addr", "del", another+"/32", "dev", "eth0")
		}
	})
}
