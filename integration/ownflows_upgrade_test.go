// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// What an older version installed has no such rule. Its connections are the node's again
// from the next ADD, or restore, on.
func TestOwnConnectionsAfterUpgrade(t *testing.T) {
	for _, backend := range []string{"iptables", "nftables"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, backend, "nft")
			own := ownTCP(t, n)
			pod := n.NewPod("web")
			list := n.Network("net", "46", nil)
			confDir(t, n, list)
			n.MustAdd(pod, list, lab.TCP(41000, 80), lab.TCP(8443, 80))
			for i, mend := range []func(){
				func() { n.MustAdd(n.NewPod("other"), list, lab.TCP(8080, 80)) },
				func() {
					if out, err := cli(n, "restore"); err != nil || !strings.Contains(out, "restored pod default/web") {
						t.Errorf("restore: %v %q", err, out)
					}
				},
			} {
				if backend == "nftables" {
					n.Run("sh", "-c", "nft -f - <<E\nflush chain inet portguard prerouting\nflush chain inet portguard established\ndelete chain inet portguard established\n"+
						"add rule inet portguard prerouting ip daddr != 127.0.0.0/8 fib daddr type local jump hostports4\nadd rule inet portguard prerouting ip6 daddr != ::1 fib daddr type local jump hostports6\nE")
				} else {
					for _, v := range []string{"", "6"} {
						n.Iptables(v, "-t nat -F PREROUTING")
						n.Iptables(v, "-t nat -F PORTGUARD-INCOMING")
						n.Iptables(v, "-t nat -X PORTGUARD-INCOMING")
						n.Iptables(v, "-t nat -A PREROUTING "+map[string]string{"": "! -d 127.0.0.0/8 "}[v]+"-m addrtype --dst-type LOCAL -m comment --comment portguard -j PORTGUARD-HOSTPORTS")
					}
				}
				mend()
				forget(t, n.Netns)
				for _, f := range own {
					f.works(t, fmt.Sprintf("mended %d", i))
				}
				if err := n.Check(pod, list, lab.TCP(41000, 80), lab.TCP(8443, 80)); err != nil {
					t.Errorf("CHECK: %v", err)
				}
				if rules := n.Rules(); strings.Count(rules, "-A PREROUTING") > 2 {
					t.Errorf("an old jump is left:\n%s", rules)
				}
			}
		})
	}
}
