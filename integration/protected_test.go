// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// No pod gets a protected port, though nobody listens there and the policy is to warn.
// Who has it from before keeps it. The commands say so.
func TestProtectedPorts(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, n *lab.Node) {
		plain := n.Network("net", "46", nil)
		list := n.Network("net", "46", lab.Conf{"conflictPolicy": "warn", "protectedPorts": []any{"20-22/tcp", 53, "10250/tcp"}})
		confDir(t, n, list)
		old := n.NewPod("old")
		old.Serve(80, "old")
		n.MustAdd(old, plain, lab.TCP(53, 80))

		message := "hostPort 22/tcp is protected by protectedPorts (20-22/tcp) of network net; choose another hostPort"
		refused(t, n, list, 112, []string{message}, lab.TCP(8080, 80), lab.TCP(22, 80))
		refused(t, n, list, 112, []string{lab.NodeV4 + ":53/udp"}, lab.UDP(53, 80).On(lab.NodeV4))
		a := ask(t, n, "22/tcp")
		if d := a.Decision; d.Allowed || d.Code != 112 || !slices.Equal(d.Refusals, []string{message}) {
			t.Errorf("explain: %+v", d)
		}
		if len(a.Claimants) != 1 || a.Claimants[0].Kind != "protected" || a.Claimants[0].Effect != "refuses" || a.Claimants[0].Who != "protectedPorts of network net" {
			t.Errorf("explain: %+v", a.Claimants)
		}
		if d := ask(t, n, "22/udp").Decision; !d.Allowed {
			t.Errorf("explain of another protocol: %+v", d)
		}

		// The port of a living pod is protected since.
		if err := n.Check(old, list, lab.TCP(53, 80)); err != nil {
			t.Errorf("CHECK: %v", err)
		}
		if out, _ := cli(n, "doctor"); !strings.Contains(out, "hostPort 53/tcp of pod default/old is protected by protectedPorts (53) now") {
			t.Errorf("doctor:\n%s", out)
		}
		want(t, "the old pod", n.Client.Who("tcp4", lab.NodeV4+":53"), "old")
		n.Run("nft", "flush", "ruleset")
		if out, err := cli(n, "restore", "--data-dir", n.Dir+"/state"); err != nil {
			t.Errorf("restore: %v\n%s", err, out)
		}
		want(t, "the old pod after restore", n.Client.Who("tcp4", lab.NodeV4+":53"), "old")
		if err := n.Del(old, list, lab.TCP(53, 80)); err != nil {
			t.Errorf("DEL: %v", err)
		}
		pod := n.NewPod("fine")
		n.MustAdd(pod, list, lab.TCP(23, 80), lab.UDP(22, 80))
	})
}
