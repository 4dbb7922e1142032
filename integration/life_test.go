// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// direct is a configuration for calling the plugin alone, with the result of a
// plugin before it.
func direct(n *lab.Node, p *lab.Pod, portMappings, more string) string {
	if n.Backend != "" && !strings.Contains(more, `"backend"`) && !strings.Contains(more, `"conditions`) {
		more += fmt.Sprintf(`,"backend":%q`, n.Backend)
	}
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","type":"portguard","dataDir":"%s/state","claimWait":"0s"%s,
		"runtimeConfig":{"portMappings":%s},
		"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":%q}],
		"ips":[{"address":"10.88.0.77/16","interface":0},{"address":"fd00:88::77/64","interface":0}]}}`,
		n.Dir, more, portMappings, p.Path)
}

const mapping = `[{"hostPort":8080,"containerPort":80,"protocol":"tcp"},{"hostPort":8080,"containerPort":80,"protocol":"udp"}]`

// link gives a pod that was not made by the bridge plugin a way to the node.
func link(n *lab.Node, p *lab.Pod) {
	n.Run("ip", "link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", p.Name)
	n.Run("ip", "link", "set", "pod0", "up")
	n.Run("ip", "route", "add", "10.88.0.77/32", "dev", "pod0")
	n.Run("ip", "route", "add", "fd00:88::77/128", "dev", "pod0")
}

// DEL removes everything whatever it is told, and whatever is left.
func TestDelAlways(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		pod := n.NewPod("web")
		link(n, pod)
		n.KubeProxy("10.88.0.200:80")
		before := n.Rules()
		bare := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","type":"portguard","dataDir":"%s/state"}`, n.Dir)
		for _, tc := range []struct {
			name, conf string
			spoil      func()
		}{
			{"with everything", direct(n, pod, mapping, ""), nil},
			{"without runtimeConfig and prevResult", bare, nil},
			{"with other ports", direct(n, pod, `[{"hostPort":1,"containerPort":1}]`, ""), nil},
			{"with malformed ports", direct(n, pod, `[{"hostPort":"x","containerPort":-1,"protocol":7}]`, ""), nil},
			{"with ports that are no list", direct(n, pod, `"none"`, ""), nil},
			{"with a wrong configuration", direct(n, pod, mapping, `,"snat":"maybe","backend":"none","markMasqBit":99`), nil},
			{"under another network name", strings.Replace(bare, `"net"`, `"renamed"`, 1), nil},
			{"with the state wiped", bare, n.WipeState},
			{"with a broken state file", bare, func() { n.Run("sh", "-c", "echo '{' > "+n.StateFiles()[0]) }},
			{"with the chains flushed", bare, func() {
				if n.Native() {
					n.Run("nft", "flush chain inet portguard hostports4; flush map inet portguard ports6; delete chain inet portguard-localnet guard")
					return
				}
				for _, v := range []string{"", "6"} {
					for _, c := range []string{"PREROUTING", "OUTPUT", "POSTROUTING"} {
						_, _ = n.Try("", "ip"+v+"tables", "-t", "nat", "-D", c, "2")
					}
				}
				n.Iptables("", "-t nat -F PORTGUARD-HOSTPORTS")
				n.Iptables("6", "-t nat -F")
			}},
		} {
			t.Run(tc.name, func(t *testing.T) {
				if out, errs, err := n.Call("ADD", pod, direct(n, pod, mapping, "")); err != nil {
					t.Fatalf("ADD: %v %s %s", err, out, errs)
				}
				if !strings.Contains(n.Rules(), "portguard") || len(n.StateFiles()) != 1 {
					t.Fatal("ADD left no rules or no state")
				}
				if tc.spoil != nil {
					tc.spoil()
				}
				for _, again := range []string{"", " again"} {
					if out, errs, err := n.Call("DEL", pod, tc.conf); err != nil {
						t.Fatalf("DEL%s: %v %s %s", again, err, out, errs)
					}
				}
				if rules := n.Rules(); strings.Contains(rules, "portguard") || strings.Contains(rules, "PG") {
					t.Errorf("rules left:\n%s", rules)
				}
				if tc.name != "with the chains flushed" {
					unchanged(t, n, before)
				}
				if f := n.StateFiles(); len(f) != 0 {
					t.Errorf("state left: %v", f)
				}
			})
		}
		t.Run("without the network namespace", func(t *testing.T) {
			gone := n.NewPod("gone")
			if out, _, err := n.Call("ADD", gone, direct(n, gone, mapping, "")); err != nil {
				t.Fatalf("ADD: %v %s", err, out)
			}
			gone.Delete()
			gone.Path = ""
			if out, _, err := n.Call("DEL", gone, bare); err != nil {
				t.Fatalf("DEL: %v %s", err, out)
			}
			if strings.Contains(n.Rules(), "portguard") {
				t.Error("rules left")
			}
		})
	})
}

// Adding the same container again replaces its rules.
func TestAddAgainReplaces(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		pod := n.NewPod("web")
		add := func(ports string) string {
			if out, _, err := n.Call("ADD", pod, direct(n, pod, ports, "")); err != nil {
				t.Fatalf("ADD: %s", out)
			}
			return n.Rules()
		}
		before := n.Rules()
		first := add(`[{"hostPort":80,"containerPort":80}]`)
		add(`[{"hostPort":81,"containerPort":80},{"hostPort":82,"containerPort":80,"hostIP":"0.0.0.0"}]`)
		if again := add(`[{"hostPort":80,"containerPort":80}]`); again != first {
			t.Errorf("the rules of a third ADD differ from those of the first:\n%s\n%s", first, again)
		}
		add(`[]`)
		unchanged(t, n, before)
	})
}

// A port whose owner is gone without a DEL goes to the next pod.
func TestDeadOwnerIsReplaced(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		dead, heir := n.NewPod("dead"), n.NewPod("heir")
		heir.Serve(80, "heir")
		n.MustAdd(dead, list, lab.TCP(80, 80))
		dead.Delete()
		n.MustAdd(heir, list, lab.TCP(80, 80))
		want(t, "after the take-over", n.Client.Who("tcp4", lab.NodeV4+":80"), "heir")
		if c := n.Mapped("10.88."); c != 1 {
			t.Errorf("%d IPv4 rules, want 1:\n%s", c, n.Rules())
		}
		if err := n.Del(dead, list, lab.TCP(80, 80)); err != nil {
			t.Errorf("late DEL: %v", err)
		}
		want(t, "after the late DEL", n.Client.Who("tcp4", lab.NodeV4+":80"), "heir")

		// The same with the state wiped: the rules tell whose namespace it was.
		last := n.NewPod("last")
		last.Serve(80, "last")
		n.WipeState()
		refused(t, n, list, 101, []string{"has hostPort 80/tcp"}, lab.TCP(80, 80))
		heir.Delete()
		n.MustAdd(last, list, lab.TCP(80, 80))
		want(t, "after the state was wiped", n.Client.Who("tcp4", lab.NodeV4+":80"), "last")
		if c := n.Mapped("10.88."); c != 1 {
			t.Errorf("%d IPv4 rules, want 1:\n%s", c, n.Rules())
		}
	})
}

func TestCheckSaysWhatIsLost(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		n.KubeProxy("10.88.0.200:80")
		pod := n.NewPod("web")
		link(n, pod)
		conf := direct(n, pod, mapping, "")
		call := func(verb string) (string, error) {
			out, _, err := n.Call(verb, pod, conf)
			return out, err
		}
		for _, tc := range []struct{ name, family, line, says string }{
			{"jump in PREROUTING", "", "-D PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment portguard -j PORTGUARD-INCOMING", "jump from PREROUTING to PORTGUARD-INCOMING is missing"},
			{"jump in OUTPUT, IPv6", "6", "-D OUTPUT -m addrtype --dst-type LOCAL -m comment --comment portguard -j PORTGUARD-HOSTPORTS", "IPv6 table nat: the jump from OUTPUT"},
			{"jump in POSTROUTING", "", "-D POSTROUTING 1", "POSTROUTING"},
			{"the jump to the attachment", "", "-F PORTGUARD-HOSTPORTS", "lacks the rule"},
			{"a rule that was added", "", "-A PGD-KEY -j RETURN", "has"},
			{"the order of rules", "", "-R PGD-KEY 1 -p tcp -m tcp --dport 8080 -m comment --comment COMMENT -j DNAT --to-destination 10.88.0.77:80", "PGD-"},
			{"masquerading", "", "-D PGM-KEY 1", "PGM-"},
			{"the place behind KUBE-SERVICES", "", "-A PREROUTING -j KUBE-SERVICES", "stands before KUBE-SERVICES"},
			{"the guard", "", "", "the guard that keeps others from 127.0.0.0/8"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				if out, err := call("ADD"); err != nil {
					t.Fatalf("ADD: %s", out)
				}
				if out, err := call("CHECK"); err != nil {
					t.Fatalf("CHECK before: %s", out)
				}
				key := keyOf(t, n)
				line := strings.NewReplacer("PGD-KEY", "PGD-"+key, "PGM-KEY", "PGM-"+key, "COMMENT", "x").Replace(tc.line)
				if line == "" {
					unguard(n)
				} else {
					n.Iptables(tc.family, "-t nat "+line)
				}
				out, err := call("CHECK")
				if err == nil || !strings.Contains(out, tc.says) {
					t.Errorf("CHECK: %v, does not say %q: %s", err, tc.says, out)
				}
				if strings.Contains(tc.name, "KUBE-SERVICES") {
					// The next ADD moves ours behind.
					if out, err := call("ADD"); err != nil {
						t.Fatalf("ADD: %s", out)
					}
					if out, err := call("CHECK"); err != nil {
						t.Errorf("CHECK after ADD: %s", out)
					}
					n.Iptables("", "-t nat -D PREROUTING -j KUBE-SERVICES")
				}
				if out, err := call("DEL"); err != nil {
					t.Fatalf("DEL: %s", out)
				}
			})
		}
		t.Run("others' rules do not matter", func(t *testing.T) {
			_, _ = call("ADD")
			n.Iptables("", "-t nat -I PREROUTING -p tcp --dport 1 -j ACCEPT")
			n.WipeState()
			if out, err := call("CHECK"); err != nil {
				t.Errorf("CHECK without state: %s", out)
			}
		})
	})
}

// keyOf reads the only attachment's key from the rules.
func keyOf(t *testing.T, n *lab.Node) string {
	t.Helper()
	_, rest, ok := strings.Cut(n.Rules(), ":PGD-")
	if !ok {
		t.Fatal("no attachment")
	}
	return rest[:24]
}

// A Service keeps its traffic, whoever was there first.
func TestBehindKubeServices(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		backend, pod := n.NewPod("backend"), n.NewPod("web")
		backend.Serve(80, "service")
		pod.Serve(80, "pod")
		n.MustAdd(backend, list)
		n.MustAdd(pod, list, lab.TCP(30080, 80))
		want(t, "before kube-proxy starts", n.Client.Who("tcp4", lab.NodeV4+":30080"), "pod")
		n.KubeProxy(net.JoinHostPort(backend.V4, "80"))
		want(t, "a NodePort that came later, from outside", n.Client.Who("tcp4", lab.NodeV4+":30080"), "service")
		want(t, "and from the node", n.Who("tcp4", lab.NodeV4+":30080"), "service")
	})
}

// All or nothing: when the second family fails the first is undone.
func TestUndo(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		pod, other := n.NewPod("web"), n.NewPod("other")
		link(n, pod)
		if out, _, err := n.Call("ADD", other, direct(n, other, `[{"hostPort":1,"containerPort":1}]`, `,"localhost":false`)); err != nil {
			t.Fatal(out)
		}
		n.Foreign("", "PREROUTING", "-m comment --comment later -j RETURN")
		before := n.Rules()
		n.Shadow("ip6tables-"+n.Flavour+"-restore", "echo no >&2; exit 1")
		out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, ""))
		if err == nil || !strings.Contains(out, "IPv6") {
			t.Errorf("ADD with a failing ip6tables-restore: %v %s", err, out)
		}
		unchanged(t, n, before)
		want(t, "route_localnet", n.ReadSysctl("net/ipv4/conf/pod0/route_localnet"), "0")
		if len(n.StateFiles()) != 1 {
			t.Errorf("state of the failed ADD is left: %v", n.StateFiles())
		}
		n.Unshadow("ip6tables-" + n.Flavour + "-restore")
		if out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, "")); err != nil {
			t.Errorf("ADD afterwards: %s", out)
		}
	})
}
