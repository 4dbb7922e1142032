// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/inventory"
)

// fixture reads rules that a real kube-proxy v1.36 made.
func fixture(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../pkg/iptsave/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// services asks for the ports of the fixtures' Services. The node has their
// node address and external IP.
func services(t *testing.T, n *lab.Node, empty string) {
	t.Helper()
	for _, tc := range []struct {
		name, port string
		says       string // of a refusal
		warns      string
	}{
		{"a NodePort", `{"hostPort":30080,"containerPort":80}`, "NodePort of Service default/web:http", ""},
		{"a NodePort over UDP", `{"hostPort":30080,"containerPort":80,"protocol":"udp"}`, "NodePort of Service default/web:udp", ""},
		{"a NodePort of local policy", `{"hostPort":30081,"containerPort":80}`, "NodePort of Service default/local", ""},
		{"a NodePort without endpoints", `{"hostPort":30082,"containerPort":80}`, "NodePort of Service " + empty, ""},
		{"a NodePort over SCTP, which is none", `{"hostPort":30080,"containerPort":80,"protocol":"sctp"}`, "", ""},
		{"a NodePort on a node address", `{"hostPort":30080,"containerPort":80,"hostIP":"10.99.0.2"}`, "NodePort of Service default/web:http", ""},
		{"an external IP that is a node address", `{"hostPort":80,"containerPort":80}`, "", "Service default/lb has the same port on the node address 10.99.0.50"},
		{"the port of a ClusterIP", `{"hostPort":443,"containerPort":80}`, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod := n.NewPod("web")
			out, errs, err := n.Call("ADD", pod, direct(n, pod, "["+tc.port+"]", `,"localhost":false`))
			defer func() { mustCall(t, n, "DEL", pod, bare(n)) }()
			if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(out, tc.says) || !strings.Contains(out, `"code": 102`)) {
				t.Errorf("got %v %s, want %q", err, out, tc.says)
			}
			if !strings.Contains(errs, tc.warns) || tc.warns == "" && errs != "" {
				t.Errorf("stderr is %q, want %q", errs, tc.warns)
			}
		})
	}
}

func TestKubeProxyNftables(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	n.Run("ip", "addr", "add", "10.99.0.2/32", "dev", "eth0")
	n.Run("ip", "addr", "add", "10.99.0.50/32", "dev", "eth0")
	rules := fixture(t, "proxy-nftables-nft.nft")
	n.Feed(rules, "nft", "-f", "-")
	services(t, n, "default/empty")
	t.Run("with many addresses", func(t *testing.T) {
		n.Addresses(80)
		defer n.Run("ip", "link", "del", "many0")
		services(t, n, "default/empty")
	})
	t.Run("explain", func(t *testing.T) {
		confDir(t, n, n.Network("net", "46", nil))
		for port, to := range map[string]string{
			"30080/tcp": "goes to Service default/web:http (NodePort) if it is for 10.99.0.2,",
			"30081/tcp": "goes to Service default/local (NodePort) if it is for 10.99.0.2,",
			"30082/tcp": "goes to nobody (kube-proxy rejects it for Service default/empty (NodePort without endpoints)) if it is for 10.99.0.2,",
		} {
			// One of two endpoints is drawn, and each draw is one.
			if out, _ := cli(n, "explain", port); !strings.Contains(out, "A packet from outside "+to) || strings.Contains(out, "unless") {
				t.Errorf("%s: want %q in\n%s", port, to, out)
			}
		}
	})
	t.Run("a NodePort on an address that nodeport-addresses leaves out", func(t *testing.T) {
		pod := n.NewPod("web")
		mustCall(t, n, "ADD", pod, direct(n, pod, `[{"hostPort":30080,"containerPort":80,"hostIP":"`+lab.NodeV4+`"}]`, ""))
		mustCall(t, n, "DEL", pod, bare(n))
	})
	t.Run("match-all", func(t *testing.T) {
		n.Run("nft", "flush", "ruleset")
		all := strings.ReplaceAll(rules, "ip daddr @nodeport-ips", "fib daddr type local ip daddr != 127.0.0.0/8")
		n.Feed(all, "nft", "-f", "-")
		pod := n.NewPod("web")
		out, _, err := n.Call("ADD", pod, direct(n, pod, `[{"hostPort":30080,"containerPort":80,"hostIP":"`+lab.NodeV4+`"}]`, ""))
		if err == nil || !strings.Contains(out, "default/web:http") {
			t.Errorf("%v %s", err, out)
		}
	})
}

func TestKubeProxyIptables(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		n.Run("ip", "addr", "add", "10.99.0.2/32", "dev", "eth0")
		n.Run("ip", "addr", "add", "10.99.0.50/32", "dev", "eth0")
		for v, file := range map[string]string{"": "proxy-iptables-nft.iptables-nft-save", "6": "proxy-iptables-nft.ip6tables-nft-save"} {
			// nfacct objects are made by a tool that is not everywhere.
			rules := ""
			for line := range strings.Lines(fixture(t, file)) {
				if i := strings.Index(line, "-m nfacct --nfacct-name  localhost_nps_accepted_pkts "); i >= 0 {
					line = strings.Replace(line, "-m nfacct --nfacct-name  localhost_nps_accepted_pkts ", "", 1)
				}
				if !strings.Contains(line, "nfacct") {
					rules += line
				}
			}
			n.Feed(rules, "ip"+v+"tables-restore")
		}
		services(t, n, "default/empty")
	})
}

// The shape of ipvs mode (pkg/proxy/ipvs/proxier.go, writeIptablesRules).
func TestKubeProxyIPVS(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		if n.Native() {
			n.Backend = "auto" // which has to see that nftables will not do
		}
		n.IPVS(0)
		n.Run("ip", "addr", "add", "10.96.0.1/32", "dev", "kube-ipvs0")
		n.Run("ipset", "add", "KUBE-NODE-PORT-TCP", "30080")
		n.Run("ipset", "add", "KUBE-6-NODE-PORT-TCP", "30080")
		n.Run("ipset", "add", "KUBE-NODE-PORT-SCTP-HASH", lab.NodeV4+",sctp:30081")
		n.Run("ipset", "add", "KUBE-IPVS-IPS", "10.96.0.1")
		for _, tc := range []struct {
			port string
			free bool
		}{
			{`{"hostPort":30080,"containerPort":80}`, false},
			{`{"hostPort":30080,"containerPort":80,"hostIP":"::"}`, false},
			{`{"hostPort":30080,"containerPort":80,"protocol":"udp"}`, true},
			{`{"hostPort":30081,"containerPort":80}`, true},
			{`{"hostPort":30081,"containerPort":80,"protocol":"sctp"}`, false},
			{`{"hostPort":30081,"containerPort":80,"protocol":"sctp","hostIP":"127.0.0.1"}`, true},
			{`{"hostPort":30081,"containerPort":80,"protocol":"sctp","hostIP":"::"}`, true},
		} {
			pod := n.NewPod("web")
			link(n, pod)
			out, errs, err := n.Call("ADD", pod, direct(n, pod, "["+tc.port+"]", ""))
			if (err == nil) != tc.free || err != nil && !strings.Contains(out, "NodePort of a Service") || strings.Contains(errs, "warning") {
				t.Errorf("%s: got %v %s %s", tc.port, err, out, errs)
			}
			mustCall(t, n, "DEL", pod, bare(n))
			n.Run("ip", "link", "del", "pod0")
		}
		t.Run("chains that nothing reaches do not count", func(t *testing.T) {
			n.Iptables("", "-t nat -D PREROUTING 1")
			n.Iptables("", "-t nat -D OUTPUT 1")
			pod := n.NewPod("web")
			mustCall(t, n, "ADD", pod, direct(n, pod, `[{"hostPort":30080,"containerPort":80,"hostIP":"0.0.0.0"}]`, ""))
		})
	})
}

// kube-proxy that turns to ipvs mode after a pod was added, and back: doctor says so, and the
// next call of anybody brings its mappings to where Services are safe, or to where they were.
func TestIPVSComesLater(t *testing.T) {
	for _, flavour := range []string{"nft", "legacy"} {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			ipvsComesLater(t, newNode(t, "", flavour))
		})
	}
}

func ipvsComesLater(t *testing.T, n *lab.Node) {
	pod, other, third := n.NewPod("web"), n.NewPod("other"), n.NewPod("third")
	pod.Serve(443, "pod")
	list := n.Network("net", "46", lab.Conf{"reserve": "off"}) // a listener stands for the Service
	confDir(t, n, list)
	before := n.Rules()
	n.MustAdd(pod, list, lab.TCP(443, 443))
	n.MustAdd(other, list)
	from := askers(n, other)
	calls := callsOfAnybody(n, list, third, pod)
	for i, tc := range append(calls, calls[0]) {
		comes := i%2 == 0
		if comes {
			turnToIPVS(n)
			whoHas(t, "before "+tc.name+" (is there anything to mend?)", from, "443", "pod", serviceV4)
			if got := ask(t, n, serviceV4+":443/tcp").Localhost[0].Gets; got != "pod default/web (hostPort)" {
				t.Errorf("explain says %q has the ClusterIP", got)
			}
			if found, fit := diagnosis(t, n); fit || !strings.Contains(found["order"].Message, "ipvs mode") {
				t.Errorf("doctor before %s: %+v", tc.name, found)
			}
			if err := n.Check(pod, list, lab.TCP(443, 443)); err == nil || !strings.Contains(err.Error(), "belong in iptables-"+n.Flavour) {
				t.Errorf("CHECK before %s: %v", tc.name, err)
			}
		} else {
			turnFromIPVS(n)
		}
		if err := tc.call(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if found, fit := diagnosis(t, n); !fit {
			t.Errorf("doctor after %s: %+v", tc.name, found)
		}
		if comes {
			service := n.ServeTCP("tcp4", serviceV4+":443", "service")
			whoHas(t, "after "+tc.name, from, "443", "service", serviceV4)
			n.Run("ip", "addr", "add", "10.96.0.2/32", "dev", "kube-ipvs0")
			n.Run("ipset", "add", "KUBE-IPVS-IPS", "10.96.0.2")
			whoHas(t, "after "+tc.name, from, "443", "", "10.96.0.2")
			service.Close()
		}
		whoHas(t, "after "+tc.name, from, "443", "pod", lab.NodeV4, lab.NodeV6)
		want(t, "localhost after "+tc.name, n.Who("tcp4", "127.0.0.1:443"), "pod")
		where := map[bool]string{true: "iptables-" + n.Flavour, false: "nftables"}[comes]
		for port, e := range listed(t, n) {
			if e.Backend != where || e.State != inventory.OK {
				t.Errorf("after %s %s is %q in %s, want %s", tc.name, port, e.State, e.Backend, where)
			}
		}
		if err := n.Check(pod, list, lab.TCP(443, 443)); err != nil {
			t.Errorf("CHECK after %s: %v", tc.name, err)
		}
	}
	for _, p := range []*lab.Pod{pod, other, third} {
		if err := n.Del(p, list); err != nil {
			t.Error(err)
		}
	}
	unchanged(t, n, before)
	want(t, "route_localnet", n.ReadSysctl("net/ipv4/conf/cni0/route_localnet"), "0")
}

// turnToIPVS gives the node the shape of kube-proxy's ipvs mode.
func turnToIPVS(n *lab.Node) {
	carry(n, "kube-ipvs0", serviceV4)
	n.Run("ipset", "-exist", "create", "KUBE-IPVS-IPS", "hash:ip", "family", "inet")
	n.Run("ipset", "-exist", "create", "KUBE-6-IPVS-IPS", "hash:ip", "family", "inet6")
	n.Run("ipset", "flush", "KUBE-IPVS-IPS")
	n.Run("ipset", "add", "KUBE-IPVS-IPS", serviceV4)
}

// turnFromIPVS takes it away. The sets stay, since rules name them: kube-proxy does not wait
// for those of others either.
func turnFromIPVS(n *lab.Node) { n.Run("ip", "link", "del", "kube-ipvs0") }
