// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/inventory"
)

// When a part of what leads to a pod is gone, explain says of each side what traffic does, and to
// whom asks for the port that some rules are gone.
func TestExplainOfBroken(t *testing.T) {
	iptables := []string{"-F PREROUTING", "-F OUTPUT", "-F POSTROUTING", "-F PORTGUARD-HOSTPORTS", "-F PORTGUARD-INCOMING", "-F PORTGUARD-MASQ"}
	native := []string{"flush chain inet portguard prerouting", "flush chain inet portguard output", "flush chain inet portguard hostports4",
		"flush chain inet portguard loopback4", "flush chain inet portguard masquerading", "delete chain inet portguard prerouting",
		"delete chain inet portguard postrouting", "flush map inet portguard localhost", "flush set inet portguard links",
		"flush set inet portguard masquerade4", "add table inet portguard { flags dormant; }"}
	for _, tt := range []struct {
		backend, flavour string
		tool             []string
		breaks           []string
	}{
		{"nftables", "nft", []string{"nft"}, native},
		{"iptables", "nft", []string{"iptables-nft", "-t", "nat"}, iptables},
		{"iptables", "legacy", []string{"iptables-legacy", "-t", "nat"}, iptables},
	} {
		t.Run(tt.backend+" "+tt.flavour, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, tt.backend, tt.flavour)
			list := n.Network("net", "46", nil)
			confDir(t, n, list)
			web := n.NewPod("web")
			web.Serve(80, "web")
			n.MustAdd(web, list, lab.TCP(8080, 80), lab.TCP(8081, 80).On(lab.NodeV4), lab.TCP(8082, 80).On("127.0.0.1"))
			broken := func(what string) {
				t.Helper()
				n.Run(append(tt.tool, strings.Fields(what)...)...)
				for _, q := range []string{"8080/tcp", lab.NodeV4 + ":8081/tcp", "127.0.0.1:8082/tcp"} {
					sides(t, n, web, ask(t, n, q))
				}
				if out, _ := cli(n, "explain", "8080/tcp"); strings.Count(out, "some of its rules are gone") < 2 || !strings.Contains(out, "gone (portguard restore") {
					t.Errorf("%s: explain says\n%s", what, out)
				}
				if e := listed(t, n)["0.0.0.0 8080/tcp"]; e.State != inventory.Missing {
					t.Errorf("%s: list says %+v", what, e)
				}
				if t.Failed() {
					t.Fatalf("with %s", what)
				}
				if out, err := cli(n, "restore"); err != nil {
					t.Fatalf("%s: restore: %v %s", what, err, out)
				}
				if out, _ := cli(n, "explain", "8080/tcp"); strings.Contains(out, "gone") {
					t.Errorf("%s, after restore: explain says\n%s", what, out)
				}
			}
			sides(t, n, web, ask(t, n, "8080/tcp"))
			for _, b := range tt.breaks {
				broken(b)
			}
		})
	}
}
