// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/way"
)

// startFirewalld starts the real firewalld on a node, with a bus of its own. What it returns
// runs commands beside it.
func startFirewalld(t *testing.T, n *lab.Node, conf string) func(command string) string {
	t.Helper()
	return startDaemons(t, n, `for d in /run /etc/firewalld /var/log; do mount -t tmpfs tmpfs $d; done
		mkdir -p /run/dbus /run/firewalld; echo "$0" > /etc/firewalld/firewalld.conf
		dbus-daemon --system --nofork --nopidfile 2>/run/bus.log & bus=$!
		until [ -S /run/dbus/system_bus_socket ]; do kill -0 $bus; sleep 0.1; done
		firewalld --nofork --nopid >&2 & fw=$!
		until firewall-cmd --state >/run/state 2>&1; do kill -0 $fw; sleep 0.2; done`, conf)
}

// installed is the configuration of the firewalld that is installed.
func installed(t *testing.T) string {
	t.Helper()
	lab.Installed(t, "firewalld", "FIREWALLD")
	b, err := os.ReadFile("/etc/firewalld/firewalld.conf")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// behindFirewalld is a node with a pod that serves by a hostPort.
func behindFirewalld(t *testing.T, backend string) (n *lab.Node, web *lab.Pod, list string) {
	t.Helper()
	n = newNode(t, backend, "nft")
	list = n.Network("net", "4", nil)
	confDir(t, n, list)
	web = n.NewPod("web")
	web.Serve(80, "web")
	n.MustAdd(web, list, lab.TCP(8080, 80), lab.UDP(8053, 80))
	return n, web, list
}

// flushes reports whether the firewalld that is installed flushes iptables when it starts and
// when it is reloaded. Since version 2 it does so only where it has rules there itself (flush of
// fw.py); its configuration tells which it is.
func flushes(conf, backend string) bool {
	return backend == "iptables" || !strings.Contains(conf, "NftablesTableOwner")
}

// The real firewalld starts and is reloaded beside a hostPort: what is in nftables serves
// before and after. What is in iptables is lost where firewalld flushes that, and all commands
// say so; restore and the next ADD put it back.
func TestRealFirewalld(t *testing.T) {
	conf := installed(t)
	for _, its := range []string{"nftables", "iptables"} {
		for _, ours := range []string{"nftables", "iptables"} {
			t.Run(its+" beside "+ours, func(t *testing.T) {
				t.Parallel()
				n, web, list := behindFirewalld(t, ours)
				lost := ours == "iptables" && flushes(conf, its)
				flushed := func(when string) {
					t.Helper()
					want(t, when, n.Client.Who("tcp4", lab.NodeV4+":8080"), map[bool]string{false: "web"}[lost])
					found, _ := diagnosis(t, n)
					if e := listed(t, n)["0.0.0.0 8080/tcp"]; (e.State == inventory.Missing) != lost || (found["missing"].Remedy == "portguard restore") != lost {
						t.Errorf("%s: list says %s, doctor %+v", when, e.State, found)
					}
				}
				asked := n.Client.Open("udp4", lab.NodeV4+":8053")
				want(t, "a flow", strings.Fields(lab.Ask(asked) + " -")[0], "web")
				run := startFirewalld(t, n, "FirewallBackend="+its)
				flushed("after the start")
				if out, err := cli(n, "restore"); err != nil {
					t.Errorf("restore: %v %s", err, out)
				}
				agree(t, n, web, "web", 8080, true)
				run("firewall-cmd --reload")
				flushed("after a reload")
				want(t, "the flow", strings.Fields(lab.Ask(asked) + " -")[0], "web") // conntrack knows it
				n.MustAdd(n.NewPod("next"), list, lab.TCP(8081, 80))
				agree(t, n, web, "web", 8080, true)

				run("firewall-cmd --add-forward-port=port=8082:proto=tcp:toport=80:toaddr=10.88.0.99")
				refused(t, n, list, 103, []string{"firewalld forwards it", "--remove-forward-port"}, lab.TCP(8082, 80))
				run("firewall-cmd --panic-on")
				found := agree(t, n, web, "web", 8080, false)
				if !strings.Contains(found[way.CheckFilter].Remedy, "firewall-cmd --panic-off") {
					t.Errorf("in panic mode doctor says %+v", found)
				}
				run("firewall-cmd --panic-off")
				agree(t, n, web, "web", 8080, true)
			})
		}
	}
}

// With StrictForwardPorts the real firewalld (2.3) lets through only what it forwards itself,
// and doctor's remedy opens the way.
func TestRealFirewalldIsStrict(t *testing.T) {
	if !strings.Contains(installed(t), "StrictForwardPorts") {
		t.Skip("this firewalld has no StrictForwardPorts")
	}
	for _, its := range []string{"nftables", "iptables"} {
		t.Run(its, func(t *testing.T) {
			t.Parallel()
			n, web, _ := behindFirewalld(t, "nftables")
			run := startFirewalld(t, n, "FirewallBackend="+its+"\nStrictForwardPorts=yes")
			found := agree(t, n, web, "web", 8080, false)
			if !strings.Contains(found[way.CheckFilter].Remedy, "it is firewalld's: set StrictForwardPorts=no in /etc/firewalld/firewalld.conf, then firewall-cmd --reload") {
				t.Fatalf("doctor says %+v", found)
			}
			run("sed -i s/StrictForwardPorts=yes/StrictForwardPorts=no/ /etc/firewalld/firewalld.conf; firewall-cmd --reload")
			agree(t, n, web, "web", 8080, true)
		})
	}
}
