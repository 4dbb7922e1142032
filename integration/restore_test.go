// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// After a flush CHECK says what is missing, and restore puts back what lives,
// unless somebody took the port meanwhile.
func TestRestore(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		web, taken, dead := n.NewPod("web"), n.NewPod("taken"), n.NewPod("dead")
		web.Serve(80, "web")
		n.MustAdd(web, list, lab.TCP(8080, 80), lab.UDP(8080, 80))
		held := n.Rules()
		confDir(t, n, list)
		restore := func() (string, error) { return cli(n, "restore") }
		if out, err := restore(); err != nil || out != "ok pod default/web\n" {
			t.Errorf("restore with nothing to do: %v %q", err, out)
		}
		unchanged(t, n, held)
		n.MustAdd(taken, n.Network("net", "46", lab.Conf{"reserve": "off"}), lab.TCP(8081, 80)) // a listener comes later
		n.MustAdd(dead, list, lab.TCP(8082, 80))
		dead.Delete()
		// Everything of portguard goes; the bridge plugin's masquerading with it.
		if n.Native() {
			n.Run("nft", "delete", "table", "inet", "portguard")
		} else {
			for _, v := range []string{"", "6"} {
				n.Run("sh", "-c", "ip"+v+"tables -t nat -F; ip"+v+"tables -t mangle -F; ip"+v+"tables -t nat -X; ip"+v+"tables -t mangle -X")
			}
		}
		for p, port := range map[*lab.Pod]int{web: 8080, taken: 8081} {
			if err := n.Check(p, list, lab.TCP(port, 80)); err == nil || !strings.Contains(err.Error(), "missing") {
				t.Errorf("CHECK after the flush: %v", err)
			}
		}
		defer n.ServeTCP("tcp", ":8081", "host").Close()
		out, err := restore()
		for _, says := range []string{"restored pod default/web\n", "refused pod default/taken: hostPort 8081/tcp is taken:"} {
			if err == nil || !strings.Contains(out, says) {
				t.Errorf("restore: %v %q, want %q", err, out, says)
			}
		}
		if strings.Contains(out, "dead") {
			t.Errorf("the dead are restored: %q", out)
		}
		want(t, "from outside", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
		want(t, "IPv6", n.Client.Who("tcp6", "["+lab.NodeV6+"]:8080"), "web")
		want(t, "localhost", n.Who("udp4", "127.0.0.1:8080"), "web")
		want(t, "the port that was taken", n.Client.Who("tcp4", lab.NodeV4+":8081"), "host")
		for _, p := range []*lab.Pod{web, taken, dead} {
			_ = n.Del(p, list)
		}
		if rules := n.Rules(); strings.Contains(rules, "portguard") {
			t.Errorf("rules left:\n%s", rules)
		}
		want(t, "route_localnet", n.ReadSysctl("net/ipv4/conf/cni0/route_localnet"), "0")
	})
}

// A pod that lost some of its rules keeps the ports of those too.
func TestSomeRulesFlushed(t *testing.T) {
	onOneOfEach(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		web, next := n.NewPod("web"), n.NewPod("next")
		web.Serve(80, "web")
		n.MustAdd(web, list, lab.TCP(8080, 80), lab.TCP(8081, 80).On(lab.NodeV4))
		if n.Native() {
			n.Run("nft", "flush", "map", "inet", "portguard", "ports4")
		} else {
			n.Run("sh", "-c", `iptables-save -t nat | grep 'dport 8080 .*DNAT' | sed 's/^-A/iptables -t nat -D/' | sh`)
		}
		want(t, "flushed", n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
		if _, err := n.Add(next, list, lab.TCP(8080, 80)); err == nil || !strings.Contains(err.Error(), "its rules are gone") {
			t.Errorf("ADD of a port whose rules were flushed: %v", err)
		}
		confDir(t, n, list)
		if out, err := cli(n, "restore"); err != nil {
			t.Errorf("restore: %v %s", err, out)
		}
		want(t, "restored", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
		_ = n.Del(web, list)
	})
}
