// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/doctor"
)

// What others did to links and to their sysctls meanwhile makes nobody forget, when rules are
// flushed, where portguard has switched route_localnet on: restore makes the guard again.
func TestGuardAfterFlush(t *testing.T) {
	for name, meanwhile := range map[string]func(n *lab.Node, web, second *lab.Pod, list string){
		"the link is renamed": func(n *lab.Node, web, _ *lab.Pod, list string) {
			n.MustAdd(web, list, lab.TCP(8080, 80))
			n.Run("ip", "link", "set", "cni0", "down")
			n.Run("ip", "link", "set", "cni0", "name", "br0")
			n.Run("ip", "link", "set", "br0", "up")
		},
		"the sysctl was on once": func(n *lab.Node, web, second *lab.Pod, list string) {
			n.Sysctl("net/ipv4/conf/all/route_localnet", "1")
			n.MustAdd(web, list, lab.TCP(8080, 80))
			n.Sysctl("net/ipv4/conf/all/route_localnet", "0")
			n.MustAdd(second, list, lab.TCP(8081, 80))
			if err := n.Del(second, list); err != nil {
				n.T.Fatalf("DEL: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			onOneOfEach(t, func(t *testing.T, n *lab.Node) {
				list := n.Network("net", "4", nil)
				evil, web, second := n.NewPod("evil"), n.NewPod("web"), n.NewPod("second")
				web.Serve(80, "web")
				n.MustAdd(evil, list)
				meanwhile(n, web, second, list)
				confDir(t, n, list)
				defer n.ServeTCP("tcp4", "127.0.0.1:7000", "host").Close()
				aims(evil.Netns, "10.88.0.1", evil.V4)
				n.Run("nft", "flush", "ruleset")
				n.Run("sh", "-c", "iptables -t nat -F")
				want(t, "without the guard", evil.Who("tcp4", "127.0.0.1:7000"), "host")
				if out, err := cli(n, "restore"); err != nil {
					t.Errorf("restore: %v %s", err, out)
				}
				want(t, "restored", evil.Who("tcp4", "127.0.0.1:7000"), "")
				want(t, "from the node", n.Who("tcp4", "127.0.0.1:8080"), "web")
				if err := n.Del(web, list); err != nil {
					t.Errorf("DEL: %v", err)
				}
				want(t, "after DEL", evil.Who("tcp4", "127.0.0.1:7000"), "")
				if rules := n.Rules(); strings.Contains(rules, "portguard-localnet") {
					t.Errorf("left:\n%s", rules)
				}
			})
		})
	}
}

// A pod whose link is gone keeps nobody else's mappings from being restored.
func TestRestoreBesideALinkThatIsGone(t *testing.T) {
	onOneOfEach(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		web, lost := n.NewPod("web"), n.NewPod("lost")
		web.Serve(80, "web")
		n.MustAdd(web, list, lab.TCP(8080, 80))
		n.Run("ip", "link", "add", "br9", "type", "bridge")
		n.Run("ip", "addr", "add", "10.9.0.1/16", "dev", "br9")
		n.Run("ip", "link", "set", "br9", "up")
		link(n, lost)
		conf := strings.Replace(direct(n, lost, `[{"hostPort":8081,"containerPort":80}]`, ""), "10.88.0.77/16", "10.9.0.77/16", 1)
		mustCall(t, n, "ADD", lost, conf)
		confDir(t, n, list)
		n.Run("ip", "link", "del", "br9")
		n.Run("nft", "flush", "ruleset")
		n.Run("sh", "-c", "iptables -t nat -F")
		if out, err := cli(n, "restore"); err != nil {
			t.Errorf("restore: %v %s", err, out)
		}
		want(t, "from outside", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
		mustCall(t, n, "DEL", lost, bare(n))
		if err := n.Del(web, list); err != nil {
			t.Errorf("DEL: %v", err)
		}
	})
}

// What leads to a link that is gone is lost to nobody, before its rules are flushed and after, and
// the link stands in nobody else's way.
func TestALinkThatIsGoneIsNotLost(t *testing.T) {
	onOneOfEach(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		web, cut, late := n.NewPod("web"), n.NewPod("cut"), n.NewPod("late")
		n.MustAdd(web, list, lab.TCP(8080, 80))
		link(n, cut)
		conf := direct(n, cut, `[{"hostPort":8081,"containerPort":80}]`, "")
		mustCall(t, n, "ADD", cut, conf)
		confDir(t, n, list)
		n.Run("ip", "link", "del", "pod0")
		agree := func(when string) {
			t.Helper()
			mustCall(t, n, "CHECK", cut, conf)
			if out, err := cli(n, "restore"); err != nil || strings.Contains(out, "restored") {
				t.Errorf("%s, restore: %v %s", when, err, out)
			}
			found, _ := diagnosis(t, n)
			for _, check := range []string{"backend", "missing"} {
				if f := found[check]; f.Severity == doctor.Problem {
					t.Errorf("%s, doctor: %+v", when, f)
				}
			}
		}
		agree("the link is gone")
		n.Run("nft", "flush", "ruleset")
		n.Run("sh", "-c", "iptables -t nat -F")
		n.MustAdd(late, list, lab.TCP(8082, 80))
		agree("it was put right without it")
		mustCall(t, n, "DEL", cut, bare(n))
		for _, p := range []*lab.Pod{late, web} {
			if err := n.Del(p, list); err != nil {
				t.Errorf("DEL: %v", err)
			}
		}
		unchanged(t, n, "")
	})
}
