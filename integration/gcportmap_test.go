// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/inventory"
)

// gc also removes what portmap left for containers that libcni's cache knows to be
// gone, and nothing of the living.
func TestGCOfPortmap(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		confDir(t, n, n.Network("net", "4", nil))
		for _, backend := range []string{"iptables", "nftables"} {
			old := n.Network("old", "46", lab.Conf{"type": "portmap", "backend": backend})
			alive, dead := n.NewPod("alive"), n.NewPod("dead")
			alive.Serve(80, "alive")
			n.MustAdd(alive, old, lab.TCP(7000, 80))
			held := n.Rules()
			n.MustAdd(dead, old, lab.TCP(7001, 80), lab.UDP(7001, 80))
			if e := listed(t, n)["0.0.0.0 7001/udp"]; e.By != "portmap" || e.State != inventory.OK {
				t.Errorf("%s: %+v", backend, e)
			}
			dead.Delete()
			if e := listed(t, n)["0.0.0.0 7001/udp"]; e.State != inventory.Dead {
				t.Errorf("%s: %+v", backend, e)
			}
			if out, err := cli(n, "gc"); err != nil || out != "removed hostPort 7001/tcp, 7001/udp of pod default/dead (portmap)\n" {
				t.Errorf("%s: gc: %v %q", backend, err, out)
			}
			if now := withoutMasquerade(n.Rules()); now != withoutMasquerade(held) {
				t.Errorf("%s: rules left (-want +got)\n%s", backend, cmp.Diff(withoutMasquerade(held), now))
			}
			want(t, "the living", n.Client.Who("tcp4", lab.NodeV4+":7000"), "alive")
			_ = n.Del(alive, old, lab.TCP(7000, 80))
		}
	})
}

// withoutMasquerade leaves out the rules that the bridge plugin makes for each pod.
func withoutMasquerade(rules string) string {
	var keep []string
	for line := range strings.Lines(rules) {
		if !strings.Contains(line, "POSTROUTING") && !strings.Contains(line, "CNI-") || strings.Contains(line, "CNI-DN-") {
			keep = append(keep, line)
		}
	}
	slices.Sort(keep)
	return strings.Join(keep, "")
}
