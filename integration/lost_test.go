// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// What drops all packets by something that all of them have closes the port, as traffic says, and is
// refused as if it named it. What drops only some does not.
func TestLostForAll(t *testing.T) {
	t.Parallel()
	for _, flavour := range []string{"nft", "legacy"} {
		t.Run(flavour, func(t *testing.T) {
			n := lab.NewNode(t, bin, flavour)
			list := n.Network("net", "4", nil)
			pod := n.NewPod("web")
			pod.Serve(80, "web")
			check := func(rule string, all bool) {
				t.Helper()
				add, remove := lossOf(n, rule)
				answer := map[bool]string{true: "", false: "web"}[all]
				n.MustAdd(pod, list, lab.TCP(8080, 80))
				want(t, "before "+rule, n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
				add()
				defer remove()
				want(t, rule, n.Client.Who("tcp4", lab.NodeV4+":8080"), answer)
				if err := n.Del(pod, list, lab.TCP(8080, 80)); err != nil {
					t.Error(err)
				}
				if all {
					refused(t, n, list, 105, []string{"would not work"}, lab.TCP(8080, 80))
				} else if out := accepted(t, n, list, lab.TCP(8080, 80)); strings.Contains(out, "work") {
					t.Errorf("%s: ADD says %q", rule, out)
				}
			}
			for _, m := range []string{"-m length --length 0:65535", "-m length ! --length 0:20", "-m ttl --ttl-gt 0", "-m ttl ! --ttl-eq 0"} {
				check("-t raw -A PREROUTING -p tcp "+m+" -j DROP", true)
			}
			for _, m := range []string{"-m length --length 1000:65535", "-m length ! --length 0:1000", "-m ttl --ttl-lt 32", "-m ttl --ttl-eq 0"} {
				check("-t mangle -A PREROUTING "+m+" -j DROP", false)
			}
			if flavour == "legacy" {
				return
			}
			for _, m := range []string{"ip ttl > 0", "ip ttl 1-255", "ip ttl { 1-127, 128-255 }", "ip ttl . ip protocol { 1-255 . tcp }", "meta length > 0", "meta length != 0", "meta length 0-65535",
				"ct zone 0", "ct zone 0-100", "ip version 4", "ip hdrlength >= 5", "ip length > 20", "meta protocol ip", "tcp doff >= 5"} {
				check(m, true)
			}
			for _, m := range []string{"ip ttl < 32", "ip ttl { 1-10 }", "meta length > 1000", "ct zone 7", "ip hdrlength > 5", "ip length < 28", "tcp doff < 5", "ip6 hoplimit > 0", "ip version 6"} {
				check(m, false)
			}
		})
	}
}

// lossOf lays a rule of iptables, or one of nftables that drops, and takes it away.
func lossOf(n *lab.Node, rule string) (add, remove func()) {
	if strings.HasPrefix(rule, "-t ") {
		return func() { n.Iptables("", rule) }, func() { n.Iptables("", strings.Replace(rule, "-A ", "-D ", 1)) }
	}
	return func() {
			n.Feed("table inet t {\nchain c { type filter hook prerouting priority -150;\n"+rule+" drop\n}\n}\n", "nft", "-f", "-")
		}, func() {
			n.Run("nft", "delete", "table", "inet", "t")
		}
}
