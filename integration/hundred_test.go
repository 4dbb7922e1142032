// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// How long it takes to put back what all pods of a node have lost: PODS, or a few, each with
// two ports of both families. docs/reliability.md has the figures of 100.
func TestTimeToHeal(t *testing.T) {
	pods := 5
	if s := os.Getenv("PODS"); s != "" {
		var err error
		if pods, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, where := range [][2]string{{"nftables", "nft"}, {"iptables", "nft"}, {"iptables", "legacy"}} {
		t.Run(where[0]+" beside "+where[1], func(t *testing.T) {
			n := newNode(t, where[0], where[1])
			inMemory(t, n)
			list := n.Network("net", "46", nil)
			confDir(t, n, list)
			all := make([]*lab.Pod, pods)
			for i := range all {
				all[i] = n.NewPod(fmt.Sprint("pod", i))
				n.MustAdd(all[i], list, lab.TCP(8000+i, 80), lab.UDP(8000+i, 80))
				all[i].Serve(80, fmt.Sprint("pod", i))
			}
			other := n.NewPod("other")
			link(n, other)
			conf := strings.ReplaceAll(direct(n, other, `[{"hostPort":7000,"containerPort":80}]`, ""), "10.88.0.77", "10.99.0.77")
			add := func() time.Duration {
				t.Helper()
				took, out, err := n.Time("portguard", "ADD", other, conf)
				if err != nil {
					t.Fatalf("ADD: %v %s", err, out)
				}
				mustCall(t, n, "DEL", other, bare(n))
				return took
			}
			restore := func() time.Duration {
				t.Helper()
				begin := time.Now()
				n.Run(filepath.Join(n.Bin, "portguard"), "restore", "--conf-dir", n.Dir+"/net.d", "--cache-dir", n.Dir+"/cache")
				return time.Since(begin)
			}
			answered := func(when string) {
				t.Helper()
				for i := 0; i < pods; i += max(1, pods/10) {
					want(t, when, n.Client.Who("tcp4", fmt.Sprintf("%s:%d", lab.NodeV4, 8000+i)), fmt.Sprint("pod", i))
				}
				if out, err := cli(n, "restore"); err != nil || strings.Count(out, "ok pod default/pod") != pods {
					t.Errorf("%s: restore has something left to do: %v\n%s", when, err, out)
				}
			}
			flush := func() {
				n.Run("nft", "flush", "ruleset")
				if where[1] == "legacy" {
					n.Run("sh", "-ec", "for t in nat mangle; do for v in '' 6; do ip${v}tables -t $t -F; ip${v}tables -t $t -X; done; done")
				}
				want(t, "flushed", n.Client.Who("tcp4", lab.NodeV4+":8000"), "")
			}
			whole := add()
			flush()
			healed := add()
			answered("after an ADD")
			idle := restore()
			flush()
			restored := restore()
			answered("after restore")
			fmt.Printf("time to heal: %s beside iptables-%s, %d pods: ADD of another %.2f s (%.2f s without a loss), restore %.2f s (%.2f s)\n",
				where[0], where[1], pods, healed.Seconds(), whole.Seconds(), restored.Seconds(), idle.Seconds())
		})
	}
}
