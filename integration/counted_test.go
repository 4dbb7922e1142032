// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// Of mappings with conditions those connections are counted that meet them, in the table of
// an older version, too: there the map counts, and the chains of its pods do not.
func TestConditionsCount(t *testing.T) {
	n := newNode(t, "", "nft")
	confDir(t, n, "")
	before := n.Rules()
	n.Client.Run("ip", "addr", "add", "192.0.2.3/24", "dev", "eth0")
	list := n.Network("net", "46", lab.Conf{"conditionsV4": []string{"ip saddr 192.0.2.3"}, "conditionsV6": []string{"counter ip6 saddr " + lab.ClientV6}})
	web, later := n.NewPod("web"), n.NewPod("later")
	ports := map[*lab.Pod][]lab.Port{web: {lab.TCP(8080, 80), lab.TCP(8080, 81).On(lab.NodeV4), lab.TCP(9090, 80).On(lab.NodeV4)}, later: {lab.TCP(8081, 80)}}
	web.Serve(80, "web")
	web.Serve(81, "web-81")
	later.Serve(80, "later")
	ask := func(src, port, by string) {
		t.Helper()
		want(t, src+" asks "+port, n.Client.WhoFrom("tcp4", src, net.JoinHostPort(lab.NodeV4, port)), by)
	}
	counts := func(when string, want map[string]uint64) {
		t.Helper()
		got := listed(t, n)
		for key, w := range want {
			if p := got[key].Packets; p == nil || *p != w {
				t.Errorf("%s: %s counts %v, want %d: %+v", when, key, p, w, got[key])
			}
		}
	}
	n.MustAdd(web, list, ports[web]...)
	ask("192.0.2.3", "8080", "web-81")
	ask("192.0.2.3", "8080", "web-81")
	ask("192.0.2.2", "8080", "")
	ask("192.0.2.3", "9090", "web")
	want(t, "IPv6", n.Client.Who("tcp6", net.JoinHostPort(lab.NodeV6, "8080")), "web")
	counts("now", map[string]uint64{"0.0.0.0 8080/tcp": 2, lab.NodeV4 + " 9090/tcp": 1, ":: 8080/tcp": 1})

	text := n.Run("nft", "-s", "list", "table", "inet", "portguard")
	older := regexp.MustCompile(`(map conditions.\s*\{\s*type .*\n\s*flags interval\n)`).ReplaceAllString(text, "${1}counter\n")
	older = regexp.MustCompile(`counter (dnat ip6? to \S+) comment ".*"`).ReplaceAllString(older, "$1")
	if strings.Count(older, "comment") == strings.Count(text, "comment") || strings.Count(older, "counter\n") != strings.Count(text, "counter\n")+2 {
		t.Fatalf("this is no table of an older version:\n%s", older)
	}
	n.Feed("delete table inet portguard\n"+older, "nft", "-f", "-")
	ask("192.0.2.3", "8080", "web-81")
	n.MustAdd(later, list, ports[later]...)
	ask("192.0.2.3", "8081", "later")
	ask("192.0.2.3", "8080", "web-81")
	counts("after an upgrade", map[string]uint64{"0.0.0.0 8080/tcp": 2, "0.0.0.0 8081/tcp": 1})
	for p, l := range ports {
		if err := n.Check(p, list, l...); err != nil {
			t.Errorf("CHECK of %s: %v", p.Name, err)
		}
		if err := n.Del(p, list); err != nil {
			t.Error(err)
		}
	}
	unchanged(t, n, before)
}
