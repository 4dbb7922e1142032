// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/way"
)

// To a hostPort of 127.0.0.1 the node itself sends, and list and doctor say whether its packets get
// through, as traffic does. What keeps out others is no matter there.
func TestWayOfTheNodeItself(t *testing.T) {
	t.Parallel()
	n, web := serving(t, lab.Conf{"allowLocalhost": true}, lab.Port{HostPort: 8080, ContainerPort: 80, Protocol: "tcp", HostIP: "127.0.0.1"})
	for _, e := range []ending{
		{"nothing", "true", "true", "", "", false},
		{"a drop of what goes to the pod", "iptables -A OUTPUT -d " + web.V4 + " -j DROP", "iptables -F OUTPUT", way.CheckFilter, "OUTPUT", true},
		// At output a packet still has the link that it would have left by without the mapping.
		{"a policy of OUTPUT, and lo is accepted", "iptables -P OUTPUT DROP; iptables -A OUTPUT -o lo -j ACCEPT", "iptables -F OUTPUT; iptables -P OUTPUT ACCEPT", "", "", false},
		{"and the pod's link is", "iptables -P OUTPUT DROP; iptables -A OUTPUT -o cni0 -j ACCEPT", "iptables -F OUTPUT; iptables -P OUTPUT ACCEPT", way.CheckFilter, "policy", true},
		{"answers that nobody lets in", "iptables -P INPUT DROP", "iptables -F INPUT; iptables -P INPUT ACCEPT", way.CheckFilter, "the answer is lost", true},
		{"a policy of nftables", "nft add table inet fw; nft 'add chain inet fw f { type filter hook output priority 0; policy drop; }'", "nft delete table inet fw", way.CheckFilter, "policy", true},
		{"one that lets lo", "nft add table inet fw; nft 'add chain inet fw f { type filter hook output priority 0; policy drop; }'; nft add rule inet fw f oif lo accept", "nft delete table inet fw", "", "", false},
		{"a policy of FORWARD", "iptables -P FORWARD DROP", "iptables -P FORWARD ACCEPT", "", "", false},
		{"no forwarding", "sysctl -qw net.ipv4.ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1", "", "", false},
	} {
		t.Run(e.name, func(t *testing.T) {
			n.Run("sh", "-c", e.do)
			defer n.Run("sh", "-c", e.undo)
			reaches := n.Who("tcp4", "127.0.0.1:8080") == "web"
			if reaches != (e.check == "") {
				t.Errorf("the node reaches the pod: %t", reaches)
			}
			got := listed(t, n)["127.0.0.1 8080/tcp"]
			if (got.State == inventory.OK) != reaches {
				t.Errorf("list says %s: %s", got.State, got.Reason)
			}
			found, _ := diagnosis(t, n)
			if f := found[e.check]; !reaches && (f.Severity != doctor.Problem || f.Remedy == "") {
				t.Errorf("doctor says %+v", found)
			}
			if e.remedy && !reaches {
				_, command, _ := strings.Cut(found[e.check].Remedy, ": ")
				n.Run("sh", "-c", command)
				want(t, "with the remedy "+command, n.Who("tcp4", "127.0.0.1:8080"), "web")
			}
			for _, c := range way.Checks() {
				if f, told := found[c]; told && c != e.check && f.Severity == doctor.Problem && c != way.CheckForward {
					t.Errorf("doctor says %+v", f)
				}
			}
			if !strings.Contains(got.Reason, e.says) {
				t.Errorf("%s is not in %q", e.says, got.Reason)
			}
			t.Logf("%s: %s; %+v", got.State, got.Reason, found[e.check])
		})
	}
}
