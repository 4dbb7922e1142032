// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// The steps of docs/migration.md: portmap's pods keep running when the conflist
// names portguard instead, lose their rules with their own DEL, and block a port
// only as long as they live.
func TestSwapForPortmap(t *testing.T) {
	for _, backend := range []string{"iptables", "nftables"} {
		for _, flavour := range []string{"nft", "legacy"} {
			t.Run(backend+" beside "+flavour, func(t *testing.T) {
				n := newNode(t, "", flavour)
				before := n.Network("net", "46", lab.Conf{"type": "portmap", "backend": backend})
				after := n.Network("net", "46", lab.Conf{"cacheDir": filepath.Join(n.Dir, "cache")})
				stays, goes, dies, heir := n.NewPod("stays"), n.NewPod("goes"), n.NewPod("dies"), n.NewPod("heir")
				for p, port := range map[*lab.Pod]int{stays: 8080, goes: 8081, dies: 8082} {
					p.Serve(80, strings.Split(p.ID, "-")[0])
					n.MustAdd(p, before, lab.TCP(port, 80), lab.UDP(port, 80))
				}
				heir.Serve(80, "heir")

				// Here the conflist is replaced. What runs goes on running.
				want(t, "a pod of portmap's", n.Client.Who("tcp4", lab.NodeV4+":8080"), "stays")
				refused(t, n, after, 103, []string{"portmap has it", "pod default/stays", stays.ID[:13]}, lab.TCP(8080, 80))

				held := n.Rules()
				if err := n.Del(goes, after, lab.TCP(8081, 80), lab.UDP(8081, 80)); err != nil {
					t.Fatalf("DEL of a pod of portmap's: %v", err)
				}
				if rules := n.Rules(); strings.Contains(rules, goes.ID) || strings.Contains(rules, goes.V4+":") || rules == held {
					t.Errorf("portmap's rules of the pod are left:\n%s", rules)
				}
				want(t, "the others", n.Client.Who("tcp4", lab.NodeV4+":8080"), "stays")
				want(t, "IPv6 of the others", n.Client.Who("tcp6", "["+lab.NodeV6+"]:8080"), "stays")

				// A port of a pod that died without a DEL goes to the next.
				refused(t, n, after, 103, []string{"portmap has it"}, lab.TCP(8082, 80))
				dies.Delete()
				left := n.Rules()
				bad := direct(n, heir, `[{"hostPort":8082,"containerPort":80}]`, `,"cacheDir":"`+filepath.Join(n.Dir, "cache")+`","conditionsV4":["ip","saddr","nowhere-at-all"]`)
				if out, _, err := n.Call("ADD", heir, bad); err == nil || !strings.Contains(out, "nowhere-at-all") {
					t.Errorf("an ADD that fails: %v %s", err, out)
				}
				unchanged(t, n, left)
				n.MustAdd(heir, after, lab.TCP(8082, 80), lab.TCP(8081, 80))
				want(t, "the heir", n.Client.Who("tcp4", lab.NodeV4+":8082"), "heir")
				want(t, "the heir, IPv6", n.Client.Who("tcp6", "["+lab.NodeV6+"]:8082"), "heir")
				if rules := n.Rules(); strings.Contains(rules, `dnat name: \"net\" id: \"`+dies.ID) || strings.Contains(rules, `comment "`+dies.ID+`"`) {
					t.Errorf("rules of the dead are left:\n%s", rules)
				}
				if err := n.Del(dies, after, lab.TCP(8082, 80), lab.UDP(8082, 80)); err != nil {
					t.Errorf("late DEL: %v", err)
				}
				want(t, "the heir after the late DEL", n.Client.Who("tcp4", lab.NodeV4+":8082"), "heir")
				if err := n.Check(heir, after, lab.TCP(8082, 80), lab.TCP(8081, 80)); err != nil {
					t.Errorf("CHECK: %v", err)
				}
				for _, p := range []*lab.Pod{stays, heir} {
					if err := n.Del(p, after, lab.TCP(8080, 80)); err != nil { // as runtimes do, with the ports
						t.Error(err)
					}
				}
				if rules := n.Rules(); strings.Contains(rules, "DNAT --to") || strings.Contains(rules, "dnat to") || strings.Contains(rules, "portguard") {
					t.Errorf("rules left:\n%s", rules)
				}
			})
		}
	}
}
