// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/explain"
)

// What a pod sends to its own hostPort may be lost while others' packets arrive, and explain
// tells the two apart: whoever else has a record, and whatever rules see of what bridges forward.
func TestExplainThePodItself(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		t.Parallel() // most of the time it waits for what is lost
		for _, plugin := range []string{"bridge", "ptp"} {
			list := strings.Replace(n.Network("net", "4", nil), `"type":"bridge"`, fmt.Sprintf("%q:%q", "type", plugin), 1)
			bare := strings.Replace(n.Network("net", "4", lab.Conf{"snat": false}), `"type":"bridge"`, fmt.Sprintf("%q:%q", "type", plugin), 1)
			confDir(t, n, list)
			web, other := n.NewPod("web"), n.NewPod("other")
			web.Serve(80, "web")
			other.Serve(80, "other")
			n.MustAdd(other, list)
			n.MustAdd(web, list, lab.TCP(8080, 80))
			again := func(p *lab.Pod, list string, ports ...lab.Port) {
				if err := n.Del(p, list); err != nil {
					t.Errorf("DEL: %v", err)
				}
				n.MustAdd(p, list, ports...)
			}
			told := func(what string) {
				t.Helper()
				for _, filtered := range []string{"0", "1"} {
					n.Sysctl("net/bridge/bridge-nf-call-iptables", filtered)
					n.Sysctl("net/bridge/bridge-nf-call-ip6tables", filtered)
					toldApart(t, fmt.Sprintf("%s, %s, filtered %s", plugin, what, filtered), ask(t, n, "8080/tcp"), n, web, other)
				}
			}
			told("by default")
			again(web, strings.Replace(list, `"hairpinMode":true`, `"hairpinMode":false`, 1), lab.TCP(8080, 80))
			told("the bridge sends nothing back")
			again(web, list, lab.TCP(8080, 80))
			n.Run("ip", "addr", "add", "192.0.3.5/24", "dev", "eth0")
			told("an address came later")
			again(other, list, lab.TCP(9000, 80))
			told("an address came later, and the other has a hostPort")
			again(web, bare, lab.TCP(8080, 80))
			told("without snat, and the other has a hostPort")
			again(other, list)
			told("without snat")
			for _, p := range []*lab.Pod{web, other} {
				if err := n.Del(p, list); err != nil {
					t.Errorf("DEL: %v", err)
				}
			}
			n.Run("ip", "addr", "del", "192.0.3.5/24", "dev", "eth0")
		}
	})
}

// toldApart compares what explain says of packets of pods with what becomes of those of web,
// which has the hostPort, and of another one.
func toldApart(t *testing.T, what string, a explain.Answer, n *lab.Node, web, other *lab.Pod) {
	t.Helper()
	_, link, _ := strings.Cut(n.Run("ip", "-o", "route", "get", web.V4), " dev ")
	link, _, _ = strings.Cut(link, " ")
	itself := func(by string) bool {
		return strings.HasSuffix(by, "from the pod itself") || strings.HasPrefix(link, "veth") && by == link
	}
	var all sync.WaitGroup
	defer all.Wait()
	for name, from := range map[string]*lab.Pod{"the pod itself": web, "another pod": other} {
		for _, addr := range []string{lab.NodeV4, "192.0.3.5"} {
			says := slices.DeleteFunc(slices.Clone(a.Pod), func(o explain.Outcome) bool {
				about := func(by string) bool { return itself(by) == (from == web) }
				return !slices.Contains(o.Addresses, addr) || len(o.From) > 0 && !slices.ContainsFunc(o.From, about)
			})
			if len(says) == 0 && addr != lab.NodeV4 {
				continue // the node has it not yet
			}
			all.Go(func() {
				got := from.Who("tcp4", netip.AddrPortFrom(netip.MustParseAddr(addr), 8080).String())
				if len(says) != 1 || answerer(says[0]) != got {
					t.Errorf("%s: %s gets %q from %s, and explain says %+v\n%s", what, name, got, addr, says, explain.Sentence("A packet from a pod on the node", a.Pod))
				}
			})
		}
	}
}
