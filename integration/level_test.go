// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/doctor"
)

// nativeProxy are kube-proxy's base chains of nftables mode, with a NodePort or without.
func nativeProxy(n *lab.Node, svc *lab.Pod) (nodePort func(port int)) {
	n.Feed(fmt.Sprintf(`table ip kube-proxy {
	map service-nodeports {
		type inet_proto . inet_service : verdict
	}
	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump services
	}
	chain nat-output {
		type nat hook output priority -100; policy accept;
		jump services
	}
	chain services {
		fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports
	}
	chain external-SUSTUHLJ-default/web/tcp/http {
		meta l4proto tcp dnat to %s:80
	}
}
`, svc.V4), "nft", "-f", "-")
	return func(port int) {
		n.Run("nft", fmt.Sprintf("add element ip kube-proxy service-nodeports { tcp . %d : goto external-SUSTUHLJ-default/web/tcp/http }", port))
	}
}

// Mappings in iptables and kube-proxy in nftables mode are at one priority: the one that was
// registered last is asked first. Nobody claims to know which that is; ADD and doctor say so.
func TestLevelWithKubeProxy(t *testing.T) {
	for name, before := range map[string]bool{"kube-proxy before the mapping": true, "kube-proxy after it": false} {
		for _, flavour := range []string{"nft", "legacy"} {
			t.Run(name+", iptables-"+flavour, func(t *testing.T) {
				t.Parallel()
				n := newNode(t, "iptables", flavour)
				svc, pod, more := n.NewPod("svc"), n.NewPod("web"), n.NewPod("more")
				svc.Serve(80, "service")
				pod.Serve(80, "pod")
				list := n.Network("net", "4", lab.Conf{"localhost": false})
				list = strings.Replace(list, `"ipMasq":true`, `"ipMasq":false`, 1) // it would register table nat of iptables
				confDir(t, n, list)
				n.MustAdd(svc, list)
				const says = "nobody can tell which is asked first"
				var nodePort func(int)
				if before {
					nodePort = nativeProxy(n, svc)
				}
				if said := n.MustAdd(pod, list, lab.TCP(30080, 80)); strings.Contains(said, says) != before {
					t.Errorf("ADD says %q", said)
				}
				if !before {
					nodePort = nativeProxy(n, svc)
				}
				want(t, "before there is a Service", n.Client.Who("tcp4", lab.NodeV4+":30080"), "pod")
				nodePort(30080)
				want(t, "with a Service", n.Client.Who("tcp4", lab.NodeV4+":30080"), map[bool]string{true: "pod", false: "service"}[before])
				for _, o := range ask(t, n, lab.NodeV4+":30080/tcp").Outside {
					if !strings.Contains(o.Gets, "default/web") || len(o.Unless) != 1 || !strings.Contains(o.Unless[0], "Service default/web:http (NodePort)") {
						t.Errorf("explain: %+v", o)
					}
				}
				if e := listed(t, n)["0.0.0.0 30080/tcp"]; e.State != "shadowed" || !strings.Contains(e.Reason, "may take its traffic") {
					t.Errorf("list: %+v", e)
				}
				found, _ := diagnosis(t, n)
				if f := found["order"]; f.Severity != doctor.Warning || !strings.Contains(f.Message, says) {
					t.Errorf("doctor: %+v", found)
				}
				nodePort(30081)
				refused(t, n, list, 102, []string{"NodePort of Service default/web:http"}, lab.TCP(30081, 80))
				if said := n.MustAdd(more, list, lab.TCP(8081, 80)); !strings.Contains(said, says) {
					t.Errorf("the next ADD says %q", said)
				}
			})
		}
	}
}
