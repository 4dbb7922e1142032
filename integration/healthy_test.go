// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/inventory"
)

// inMemory puts the records where they are on most nodes.
func inMemory(t *testing.T, n *lab.Node) {
	t.Helper()
	if err := os.MkdirAll(n.Dir+"/state", 0o700); err != nil {
		t.Fatal(err)
	}
	n.Mount(n.Dir+"/state", "mode=0700")
}

// proxied loads what a real kube-proxy wrote, with Services or without.
func proxied(t *testing.T, n *lab.Node, mode string) {
	t.Helper()
	if mode == "nftables" {
		n.Feed(fixture(t, "proxy-nftables-nft.nft"), "nft", "-f", "-")
		return
	}
	for _, v := range []string{"", "6"} {
		var rules strings.Builder
		for line := range strings.Lines(fixture(t, "proxy-iptables-"+mode+".ip"+v+"tables-"+n.Flavour+"-save")) {
			if !strings.Contains(line, "nfacct") { // made by a tool that is not everywhere
				rules.WriteString(line)
			}
		}
		n.Feed(rules.String(), "ip"+v+"tables-restore", "--noflush")
	}
}

// On a node where all is well doctor says how it is, and nothing else; list and explain agree
// with it and with traffic.
func TestDoctorIsSilent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, flavour string
		before        bool // the pod
		// others are what is on the node beside a pod with 8080; they have 8081.
		others func(t *testing.T, n *lab.Node, web *lab.Pod)
		conf   lab.Conf
	}{
		{"nothing", "nft", false, func(*testing.T, *lab.Node, *lab.Pod) {}, nil},
		{"kube-proxy in iptables-nft", "nft", true, func(t *testing.T, n *lab.Node, _ *lab.Pod) { proxied(t, n, "nft") }, nil},
		{"without Services", "nft", false, func(t *testing.T, n *lab.Node, _ *lab.Pod) { proxied(t, n, "nft-noservice") }, nil},
		{"kube-proxy in iptables-legacy", "legacy", true, func(t *testing.T, n *lab.Node, _ *lab.Pod) { proxied(t, n, "legacy") }, nil},
		{"without Services in iptables-legacy", "legacy", false, func(t *testing.T, n *lab.Node, _ *lab.Pod) { proxied(t, n, "legacy-noservice") }, nil},
		{"kube-proxy in nftables mode", "nft", true, func(t *testing.T, n *lab.Node, _ *lab.Pod) { proxied(t, n, "nftables") }, nil},
		{"docker", "nft", true, func(t *testing.T, n *lab.Node, _ *lab.Pod) {
			container(t, n)
			load(n, "docker-published.iptables", filters(t, "docker-published.iptables", ""))
			keepOpen(t, n, 8081, "docker-proxy", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "8081", "-container-ip", "172.17.0.2", "-container-port", "80")
		}, nil},
		{"Podman", "nft", false, func(t *testing.T, n *lab.Node, _ *lab.Pod) {
			n.Run("sh", "-ec", "ip link add podman0 type bridge; ip addr add 10.89.5.1/24 dev podman0; ip link set podman0 up")
			load(n, "netavark-published.iptables", filters(t, "netavark-published.iptables", ""))
			keepOpen(t, n, 8081, "conmon", "--api-version", "1", "-c", "3f1b0c9d2a7e", "-u", "3f1b0c9d2a7e")
		}, nil},
		{"nerdctl", "nft", false, func(t *testing.T, n *lab.Node, web *lab.Pod) {
			load(n, "nerdctl.iptables", strings.NewReplacer("nerdctl0", "cni0", "10.4.0.2", web.V4).Replace(filters(t, "nerdctl.iptables", "")))
			reserve(t, n, web, 8080)
		}, lab.Conf{"reserve": "off"}}, // it keeps the port open from before the ADD
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, "", tt.flavour)
			inMemory(t, n)
			list := n.Network("net", "46", tt.conf)
			confDir(t, n, list)
			web := n.NewPod("web")
			web.Serve(80, "web")
			if tt.before {
				tt.others(t, n, web)
			}
			n.MustAdd(web, list, lab.TCP(8080, 80), lab.UDP(8080, 80))
			if !tt.before {
				tt.others(t, n, web)
			}
			silent(t, n)
			agree(t, n, web, "web", 8080, true)
		})
	}
	t.Run("kube-proxy in ipvs mode", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, "", "nft")
		inMemory(t, n)
		list := n.Network("net", "4", nil)
		confDir(t, n, list)
		n.IPVS(3)
		web := n.NewPod("web")
		web.Serve(80, "web")
		n.MustAdd(web, list, lab.TCP(8080, 80))
		silent(t, n)
	})
}

// silent wants all that doctor says to be how the node is, and every mapping to work.
func silent(t *testing.T, n *lab.Node) {
	t.Helper()
	out, err := cli(n, "doctor", "-o", "json")
	var d struct{ Findings []doctor.Finding }
	if jerr := json.Unmarshal([]byte(out), &d); err != nil || jerr != nil || len(d.Findings) == 0 {
		t.Fatalf("doctor: %v, %v\n%s", err, jerr, out)
	}
	for _, f := range d.Findings {
		if f.Severity != doctor.Info || !slices.Contains([]string{"backend", "flavours", "reservation"}, f.Check) {
			t.Errorf("a healthy node, and doctor says %+v", f)
		}
	}
	for _, e := range hostPorts(t, n) {
		if e.State != inventory.OK {
			t.Errorf("list says %s: %s", e.State, e.Reason)
		}
	}
}
