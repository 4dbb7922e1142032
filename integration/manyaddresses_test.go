// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// A node with more addresses than are looked up one by one: sets of others' addresses have none of its
// ports, and one with an address of its own has that.
func TestManyAddressesOfTheNode(t *testing.T) {
	besideEach(t, func(t *testing.T, n *lab.Node) {
		n.Addresses(80)
		web := n.NewPod("web")
		web.Serve(80, "web")
		list := n.Network("net", "46", nil)
		n.ServeTCP("tcp", ":9998", "theirs")
		n.Feed(`table ip many {
			set s { type ipv4_addr; elements = { 203.0.113.5 } }
			set nets { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 } }
			set c { type ipv4_addr . inet_service; elements = { 203.0.113.5 . 8080, 100.64.0.7 . 8081 } }
			map to { type ipv4_addr : ipv4_addr; elements = { 203.0.113.5 : 10.99.99.99 } }
			chain p { type nat hook prerouting priority -110;
				ip daddr @s meta l4proto tcp redirect to :9998
				ip daddr @nets tcp dport 8080 redirect to :9998
				ip daddr . tcp dport @c redirect to :9998
				dnat to ip daddr map @to
				ip daddr . ip saddr { 203.0.113.5 . 192.0.2.2 } tcp dport 8080 redirect to :9998
			}
		}`, "nft", "-f", "-")
		n.Run("ipset", "create", "NODEPORTS", "hash:ip,port")
		n.Run("ipset", "add", "NODEPORTS", "192.0.2.1,tcp:30080")
		n.Run("ipset", "create", "LB", "hash:ip,port")
		n.Run("ipset", "add", "LB", "203.0.113.5,tcp:8080")
		n.Foreign("", "PREROUTING", "-p tcp -m set --match-set NODEPORTS dst,dst -j REDIRECT --to-ports 9998")
		n.Iptables("", "-t mangle -A PREROUTING -m set --match-set LB dst,dst -j MARK --set-mark 1")
		n.Foreign("", "PREROUTING", "-p tcp -m mark --mark 1 -j REDIRECT --to-ports 9998")
		// A mark may come from elsewhere, too: that, and nothing else, is warned of.
		if out := n.MustAdd(web, list, lab.TCP(8080, 80)); strings.Count(out, "warning") > 1 || !strings.Contains(out, "-m mark --mark 0x1 ") {
			t.Errorf("ADD warns: %s", out)
		}
		outside := map[string]*lab.Netns{"outside": n.Client}
		whoHas(t, "the pod's port", outside, "8080", "web", "100.64.0.3", lab.NodeV4, "fd00:64::4")
		whoHas(t, "another one's", outside, "8081", "theirs", "100.64.0.7")
		refused(t, n, list, 103, []string{"8081/tcp is taken"}, lab.TCP(8081, 80))
		refused(t, n, list, 103, []string{"30080/tcp is taken"}, lab.TCP(30080, 80))
	})
}
