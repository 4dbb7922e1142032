// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// collect is the configuration of a GC for a network.
func collect(n *lab.Node, network, valid string) string {
	return fmt.Sprintf(`{"cniVersion":"1.1.0","name":%q,"type":"portguard","dataDir":"%s/state"%s}`, network, n.Dir, valid)
}

func validAre(pods ...*lab.Pod) string {
	var list []string
	for _, p := range pods {
		list = append(list, fmt.Sprintf(`{"containerID":%q,"ifname":"eth0"}`, p.ID))
	}
	return `,"cni.dev/valid-attachments":[` + strings.Join(list, ",") + `]`
}

// GC removes what its network has and the runtime does not know, and nothing else,
// with and without records.
func TestGC(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		for _, wiped := range []string{"", "the state", "the state and its mark"} {
			pods := map[string]*lab.Pod{}
			add := func(name, network string, port int) {
				p := n.NewPod(name)
				pods[name] = p
				conf := strings.Replace(direct(n, p, fmt.Sprintf(`[{"hostPort":%d,"containerPort":80},{"hostPort":%d,"containerPort":80,"protocol":"udp"}]`, port, port), ""), `"name":"net"`, fmt.Sprintf(`"name":%q`, network), 1)
				mustCall(t, n, "ADD", p, conf)
			}
			before := n.Rules()
			add("other", "other-net", 8083)
			add("keep", "net", 8080)
			kept := n.Rules()
			add("stale", "net", 8081)
			add("stale-too", "net", 8082)
			all := n.Rules()
			if wiped != "" {
				n.WipeState()
			}
			if wiped == "the state and its mark" {
				n.Run("rm", "-f", n.Dir+"/state.used")
			}
			gc := func(network, valid string) {
				t.Helper()
				mustCall(t, n, "GC", pods["keep"], collect(n, network, valid))
			}
			gc("net", "")
			unchanged(t, n, all)
			gc("third", validAre())
			unchanged(t, n, all)
			gc("net", validAre(pods["keep"]))
			unchanged(t, n, kept)
			gc("net", validAre(pods["keep"]))
			unchanged(t, n, kept)
			if out, _, err := n.Call("GC", pods["keep"], collect(n, "net", `,"cni.dev/valid-attachments":[{"containerID":7}]`)); err == nil {
				t.Errorf("a malformed list is accepted: %s", out)
			}
			unchanged(t, n, kept)
			mustCall(t, n, "DEL", pods["stale"], bare(n)) // a late DEL finds nothing
			gc("net", validAre())
			gc("other-net", validAre())
			unchanged(t, n, before)
			if f := n.StateFiles(); len(f) > 0 {
				t.Errorf("state left: %v", f)
			}
		}
	})
}

// A second interface of the same container keeps its ports.
func TestDelOfOneInterface(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		pod := n.NewPod("multus")
		if out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, "")); err != nil {
			t.Fatal(out)
		}
		one := n.Rules()
		second := strings.Replace(direct(n, pod, `[{"hostPort":9090,"containerPort":80}]`, ""), `"name":"eth0"`, `"name":"net1"`, 1)
		if out, _, err := n.CallOn("net1", "ADD", pod, second); err != nil {
			t.Fatal(out)
		}
		if out, _, err := n.CallOn("net1", "DEL", pod, second); err != nil {
			t.Fatal(out)
		}
		unchanged(t, n, one)
	})
}
