// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"sync"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/explain"
)

// The pod answers whom it sees, which is the node where portguard masquerades. Conntrack gives
// answers back the client at -100 and the source that was asked at 100, so rules before and
// behind see others: explain says what each of them does to traffic.
func TestMasqueradedAnswers(t *testing.T) {
	t.Parallel()
	chain := func(hook, priority, rule string) string {
		return "nft add table inet fw; nft 'add chain inet fw f { type filter hook " + hook + " priority " + priority + "; }'; nft add rule inet fw f " + rule + " drop"
	}
	const raw, mangle, none = "iptables -t raw -A PREROUTING -i cni0 ", "iptables -t mangle -A PREROUTING ", ""
	rules := []struct{ do, local, pod string }{
		{"true", "web", "web"},
		{raw + "-d 127.0.0.0/8 -j DROP", "web", "web"},
		{mangle + "! -i lo -d 127.0.0.0/8 -j DROP", "web", "web"},
		{raw + "-s 10.88.0.2 -d 10.88.0.1 -j DROP", none, none},
		{mangle + "-s 10.88.0.2 -d 10.88.0.1 -j DROP", none, none},
		{chain("prerouting", "-10", "iif cni0 ip daddr 127.0.0.1"), none, "web"},
		{chain("prerouting", "-10", "iif cni0 ip saddr 10.88.0.2 ip daddr 10.88.0.1"), "web", "web"},
		{"iptables -A INPUT ! -i lo -d 127.0.0.0/8 -j DROP", none, "web"},
		{"iptables -A INPUT ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP", "web", "web"},
		{chain("input", "150", "iif cni0 ip saddr 127.0.0.1"), none, "web"},
		{chain("input", "150", "ip saddr 10.88.0.2"), "web", "web"},
		{chain("postrouting", "150", "oif cni0 ip saddr 127.0.0.1"), "web", "web"},
		{chain("postrouting", "150", "oif cni0 ip saddr 10.88.0.1 ip daddr 10.88.0.2"), none, none},
		{chain("postrouting", "150", "ip saddr 10.88.0.2"), "web", "web"},
		{"iptables -t mangle -A POSTROUTING -o cni0 -s 127.0.0.0/8 -j DROP", none, "web"},
		{"ip rule add from 127.0.0.0/8 blackhole", none, "web"},
		{"sysctl -qw net.ipv4.conf.cni0.route_localnet=0", none, "web"},
		{"ip addr add 10.88.0.77/16 dev cni0; ip route change 10.88.0.0/16 dev cni0 src 10.88.0.77; " + raw + "-s 10.88.0.2 -d 10.88.0.1 -j DROP", none, none},
		{raw + "-s 10.88.0.2 -d 10.88.0.77 -j DROP", "web", "web"},
	}
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, backend, "nft")
			list := n.Network("net", "4", nil)
			confDir(t, n, list)
			web, asks := n.NewPod("web"), n.NewPod("asks")
			web.Serve(80, "web")
			n.MustAdd(web, list, lab.TCP(8080, 80), lab.TCP(8081, 80).On("127.0.0.1"))
			n.MustAdd(asks, list)
			for _, r := range rules {
				n.Run("sh", "-ec", r.do)
				var all sync.WaitGroup // what is lost is waited for
				for _, q := range []struct {
					from     *lab.Netns
					to, gets string
				}{{n.Netns, "127.0.0.1:8080", r.local}, {n.Netns, "127.0.0.1:8081", r.local}, {asks.Netns, lab.NodeV4 + ":8080", r.pod}} {
					all.Go(func() { want(t, r.do+": "+q.to, q.from.Who("tcp4", q.to), q.gets) })
					a := ask(t, n, q.to+"/tcp")
					for _, o := range map[bool][]explain.Outcome{true: a.Localhost, false: a.Pod}[q.from == n.Netns] {
						want(t, fmt.Sprintf("%s: explain of %s, %+v", r.do, q.to, o), answerer(o), q.gets)
					}
				}
				all.Wait()
				n.Run("sh", "-c", "nft delete table inet fw; iptables -t raw -F; iptables -t mangle -F; iptables -F INPUT; ip rule del from 127.0.0.0/8 blackhole; sysctl -qw net.ipv4.conf.cni0.route_localnet=1; true")
			}
		})
	}
}
