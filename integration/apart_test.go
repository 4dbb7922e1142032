// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// A hostPort of all addresses but one and another of that one are both served, whoever comes
// first and whoever goes.
func TestExcludedAddressIsFree(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		all := n.Network("net", "46", lab.Conf{"excludeCIDRs": []string{lab.NodeV4, "127.0.0.0/8"}})
		list := n.Network("net", "46", nil)
		confDir(t, n, list)
		n.Run("ip", "addr", "add", "192.0.2.7/24", "dev", "eth0")
		wide, one := n.NewPod("wide"), n.NewPod("one")
		wide.Serve(80, "wide")
		one.Serve(80, "one")
		ports := []lab.Port{lab.TCP(8080, 80).On(lab.NodeV4), lab.TCP(8080, 80).On("127.0.0.1")}
		before := n.Rules()
		adds := []func(){func() { n.MustAdd(wide, all, lab.TCP(8080, 80)) }, func() { n.MustAdd(one, list, ports...) }}
		served := func(what, wideIs, oneIs string) {
			t.Helper()
			want(t, what+": the one address", n.Client.Who("tcp4", lab.NodeV4+":8080"), oneIs)
			want(t, what+": the one address from the node", n.Who("tcp4", lab.NodeV4+":8080"), oneIs)
			want(t, what+": localhost", n.Who("tcp4", "127.0.0.1:8080"), oneIs)
			want(t, what+": another address", n.Client.Who("tcp4", "192.0.2.7:8080"), wideIs)
			want(t, what+": IPv6", n.Client.Who("tcp6", "["+lab.NodeV6+"]:8080"), wideIs)
		}
		both := func(what string) {
			t.Helper()
			served(what, "wide", "one")
			if err := n.Check(wide, all, lab.TCP(8080, 80)); err != nil {
				t.Errorf("%s: CHECK: %v", what, err)
			}
			if err := n.Check(one, list, ports...); err != nil {
				t.Errorf("%s: CHECK: %v", what, err)
			}
			sides(t, n, one, ask(t, n, "8080/tcp"))
			if d, _ := diagnosis(t, n); d["shadowed"].Message != "" {
				t.Errorf("%s: doctor: %+v", what, d)
			}
		}
		for _, first := range []int{0, 1} {
			adds[first]()
			if a := ask(t, n, lab.NodeV4+":8080/tcp"); a.Decision.Allowed != (first == 0) {
				t.Errorf("explain: %+v", a.Decision)
			}
			adds[1-first]()
			both("both")
			if n.Native() {
				n.Run("nft", "delete", "table", "inet", "portguard")
			} else {
				n.Iptables("", "-t nat -F PORTGUARD-HOSTPORTS")
			}
			if out, err := cli(n, "restore"); err != nil {
				t.Errorf("restore: %v\n%s", err, out)
			}
			both("restored")
			third := n.NewPod("third")
			for _, ip := range []string{lab.NodeV4, "192.0.2.7", ""} {
				if _, err := n.Add(third, list, lab.TCP(8080, 80).On(ip)); err == nil {
					t.Errorf("a third pod gets %q", ip)
				}
			}
			if err := n.Del(wide, all); err != nil {
				t.Errorf("DEL: %v", err)
			}
			served("one is left", "", "one")
			adds[0]()
			both("both again")
			if err := n.Del(one, list); err != nil {
				t.Errorf("DEL: %v", err)
			}
			served("the other is left", "wide", "")
			if err := n.Del(wide, all); err != nil {
				t.Errorf("DEL: %v", err)
			}
			unchanged(t, n, before)
		}
	})
}
