// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/way"
)

// Where packets are led nowhere, rp_filter is not to blame: the kernel has one error for both.
func TestBarredIsNoReversePath(t *testing.T) {
	t.Parallel()
	n, web := serving(t, nil, lab.TCP(8080, 80))
	n.ServeTCP("tcp4", ":9000", "host")
	n.Run("ip", "link", "add", "other", "type", "bridge")
	n.Run("ip", "link", "set", "other", "up")
	for _, e := range []ending{
		{"a rule for the client", "ip rule add from 192.0.2.2 blackhole", "ip rule del from 192.0.2.2 blackhole", way.CheckRoute, "there is no route to 10.88.0.2", false},
		{"one for the link", "ip rule add iif eth0 blackhole", "ip rule del iif eth0 blackhole", way.CheckRoute, "there is no route to 10.88.0.2", false},
		{"one that prohibits", "ip rule add from 192.0.2.2 prohibit", "ip rule del from 192.0.2.2 prohibit", way.CheckRoute, "there is no route to 10.88.0.2", false},
		{"one that says unreachable", "ip rule add from 192.0.2.2 unreachable", "ip rule del from 192.0.2.2 unreachable", way.CheckRoute, "there is no route to 10.88.0.2", false},
		{"a table for the client", "ip route add blackhole default table 100; ip rule add from 192.0.2.0/24 lookup 100", "ip rule del from 192.0.2.0/24 lookup 100; ip route flush table 100", way.CheckRoute, "there is no route to 10.88.0.2", false},
		{"a route back", "ip route add blackhole 192.0.2.2", "ip route del blackhole 192.0.2.2", way.CheckRoute, "the answer is lost: there is no route to 192.0.2.2", false},
		{"one that says unreachable back", "ip route add unreachable 192.0.2.2", "ip route del unreachable 192.0.2.2", way.CheckRoute, "the answer is lost: there is no route to 192.0.2.2", false},
		{"a rule for the answers", "ip rule add to 192.0.2.2 blackhole", "ip rule del to 192.0.2.2 blackhole", way.CheckRoute, "the answer is lost: there is no route to 192.0.2.2", false},
		{"a rule for the pod's answers", "ip rule add from 10.88.0.2 prohibit", "ip rule del from 10.88.0.2 prohibit", way.CheckRoute, "the answer is lost: there is no route to 192.0.2.2", false},
		{"a rule for the pod's link", "ip rule add iif cni0 blackhole", "ip rule del iif cni0 blackhole", way.CheckRoute, "the answer is lost: there is no route to 192.0.2.2", false},
		{"another way back", "ip route add 192.0.2.2 dev other", "ip route del 192.0.2.2 dev other", way.CheckReverse, "rp_filter of eth0 is strict", false},
	} {
		for _, filter := range []string{"1 1", "0 1", "2 0"} {
			if e.check == way.CheckReverse && filter != "1 1" {
				continue
			}
			t.Run(e.name+", rp_filter "+filter, func(t *testing.T) {
				eth0, cni0, _ := strings.Cut(filter, " ")
				n.Run("sh", "-ec", "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter="+eth0+" net.ipv4.conf.cni0.rp_filter="+cni0)
				want(t, "before", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
				n.Run("sh", "-ec", e.do)
				found := agree(t, n, web, "web", 8080, false)
				if !strings.Contains(found[e.check].Message, e.says) {
					t.Errorf("doctor says %+v, want %q", found, e.says)
				}
				sides(t, n, web, ask(t, n, "0.0.0.0:9000/tcp"))
				n.Run("sh", "-ec", e.undo)
			})
		}
	}
}
