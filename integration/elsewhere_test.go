// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// A node may answer for addresses of IPv6 by routes of any table, as transparent proxies have it. These
// are not its own: a wildcard mapping leaves them alone, also where the routes came after the pod.
func TestLocalElsewhere(t *testing.T) {
	besideEach(t, func(t *testing.T, n *lab.Node) {
		const theirs, port = "2001:db8:77::5", "8082"
		list := n.Network("net", "46", nil)
		web, other := n.NewPod("web"), n.NewPod("other")
		web.Serve(80, "web")
		n.ServeTCP("tcp6", "[::]:8444", "proxy")
		n.Feed("table ip6 proxy { chain p { type nat hook prerouting priority 0;\n ip6 daddr 2001:db8:77::/64 tcp dport 8082 redirect to :8444\n }\n }", "nft", "-f", "-")
		outside := map[string]*lab.Netns{"outside": n.Client}
		for name, routes := range map[string][2]string{
			"a rule for destinations": {"ip -6 rule add to 2001:db8:77::/64 lookup 177; ip -6 route add local 2001:db8:77::/64 dev lo table 177",
				"ip -6 rule del to 2001:db8:77::/64; ip -6 route flush table 177"},
			"a rule for sources": {"ip -6 rule add from " + lab.ClientV6 + " lookup 177; ip -6 route add local default dev lo table 177",
				"ip -6 rule del from " + lab.ClientV6 + "; ip -6 route flush table 177"},
			"table main": {"ip -6 route add local 2001:db8:77::/64 dev lo table main", "ip -6 route del local 2001:db8:77::/64 dev lo table main"},
		} {
			own := lab.NodeV6
			if strings.HasPrefix(routes[0], "ip -6 rule add from") {
				own = lab.NodeV4 // of the client all of IPv6 is for the proxy then
			}
			n.MustAdd(web, list, lab.TCP(8082, 80))
			n.Run("sh", "-c", routes[0])
			n.MustAdd(other, list, lab.TCP(8083, 80)) // anybody's call renews
			whoHas(t, name+" comes later", outside, port, "proxy", theirs)
			whoHas(t, name+" comes later", outside, port, "web", own)
			if err := n.Del(web, list, lab.TCP(8082, 80)); err != nil {
				t.Fatal(err)
			}
			whoHas(t, name, outside, port, "proxy", theirs)
			n.MustAdd(web, list, lab.TCP(8082, 80))
			whoHas(t, name+" was there", outside, port, "proxy", theirs)
			whoHas(t, name+" was there", outside, port, "web", own)
			n.Run("sh", "-c", routes[1])
			for _, p := range []*lab.Pod{web, other} {
				if err := n.Del(p, list); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
