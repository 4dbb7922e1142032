// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/nft"
)

// The kernel tells which members of an ipset go by themselves. Of a set that is too long to be
// listed any may.
func TestSetExpires(t *testing.T) {
	t.Parallel()
	n := lab.NewNetns(t, "sets")
	long := "create long bitmap:port range 0-65535 timeout 600\n"
	for i := range nft.MaxListed + 1 {
		long += fmt.Sprintf("add long %d timeout 0\n", i)
	}
	n.Feed(`create bare hash:ip
add bare 192.0.2.1
create stays hash:ip timeout 600
add stays 192.0.2.1 timeout 0
create goes hash:ip timeout 600
add goes 192.0.2.1 timeout 0
add goes 192.0.2.2
create six hash:net,port family inet6 timeout 600
add six 2001:db8::/32,tcp:8080
create empty bitmap:port range 0-9 timeout 600
`+long, "ipset", "restore")
	for name, want := range map[string]bool{"bare": false, "stays": false, "goes": true, "six": true, "empty": false, "long": true} {
		n.Do(func() {
			if got, err := (host.Sets{}).SetExpires(name); got != want || err != nil {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		})
	}
	n.Do(func() {
		if _, err := (host.Sets{}).SetExpires("none"); err == nil {
			t.Error("a set that is not there")
		}
	})
}

// A member of a set that lets packets by a redirect keeps the port free, unless it goes by itself:
// the redirect has the port then.
func TestMembersThatExpire(t *testing.T) {
	t.Parallel()
	n := lab.NewNode(t, bin, "nft")
	list, warning := n.Network("net", "4", nil), n.Network("warn", "4", lab.Conf{"conflictPolicy": "warn"})
	n.ServeTCP("tcp4", ":2222", "other")
	n.Run("ipset", "create", "S", "hash:ip,port", "timeout", "600")
	native := `table ip t {
	set s { type ipv4_addr . inet_service; flags timeout; }
	chain pre { type nat hook prerouting priority -110; ip daddr . tcp dport @s accept; tcp dport 8080 redirect to :2222; }
}`
	xt := []string{"PREROUTING -p tcp -m set --match-set S dst,dst -j ACCEPT", "PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 2222"}
	for _, s := range []struct {
		name     string
		on, off  func()
		put, out string
		lasting  string
	}{
		{"ipset", func() { n.Iptables("", "-t nat -A "+xt[0]); n.Iptables("", "-t nat -A "+xt[1]) }, func() { n.Iptables("", "-t nat -F PREROUTING") },
			"ipset add S 192.0.2.1,tcp:8080 timeout 3", "ipset flush S", "ipset add S 192.0.2.1,tcp:8080 timeout 0"},
		{"nftables", func() { n.Feed(native, "nft", "-f", "-") }, func() { n.Run("nft", "delete", "table", "ip", "t") },
			"nft add element ip t s { 192.0.2.1 . 8080 timeout 3s }", "nft flush set ip t s", "nft add element ip t s { 192.0.2.1 . 8080 }"},
	} {
		t.Run(s.name, func(t *testing.T) {
			web := n.NewPod("web")
			web.Serve(80, "web")
			port := lab.TCP(8080, 80).On(lab.NodeV4)
			s.on()
			n.Run(strings.Fields(s.lasting)...)
			n.MustAdd(web, list, port)
			want(t, "with a member that stays", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
			if err := n.Del(web, list, port); err != nil {
				t.Fatal(err)
			}
			n.Run(strings.Fields(s.out)...)
			n.Run(strings.Fields(s.put)...)
			gone := time.Now().Add(4 * time.Second)
			refused(t, n, list, 103, []string{"8080/tcp is taken"}, port)
			n.MustAdd(web, warning, port)
			time.Sleep(time.Until(gone))
			want(t, "when it is gone", n.Client.Who("tcp4", lab.NodeV4+":8080"), "other")
			if err := n.Del(web, warning, port); err != nil {
				t.Fatal(err)
			}
			s.off()
		})
	}
}
