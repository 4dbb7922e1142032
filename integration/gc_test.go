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

// STATUS says what keeps portguard from its job.
func TestStatus(t *testing.T) {
	n := newNode(t, "", "nft")
	pod := n.NewPod("status")
	status := func(more string) (string, error) {
		if !strings.Contains(more, "capabilities") {
			more += `,"capabilities":{"portMappings":true}`
		}
		out, _, err := n.Call("STATUS", pod, fmt.Sprintf(`{"cniVersion":"1.1.0","name":"net","type":"portguard","dataDir":"%s/state"%s}`, n.Dir, more))
		return out, err
	}
	ready := func(when, more string) {
		t.Helper()
		if out, err := status(more); err != nil {
			t.Errorf("%s: %s", when, out)
		}
	}
	not := func(when, more, says string) {
		t.Helper()
		if out, err := status(more); err == nil || !strings.Contains(out, `"code": 50`) || !strings.Contains(out, says) {
			t.Errorf("%s: %v %s, want %q", when, err, out, says)
		}
	}
	ready("on a fresh node", "")
	ready("with iptables", `,"backend":"iptables"`)
	not("without the capability", `,"capabilities":{}`, "capabilities")
	n.Run("sh", "-c", "touch "+n.Dir+"/file")
	not("dataDir below a file", `,"dataDir":"`+n.Dir+`/file/x"`, "dataDir")
	path := n.Env
	n.Env = append(append([]string{}, path...), "PATH="+t.TempDir())
	ready("without tools", "")
	not("iptables without tools", `,"backend":"iptables"`, "not installed")
	n.Env = path
	n.KubeProxy("10.88.0.200:80")
	n.Run("iptables-legacy", "-t", "nat", "-N", "KUBE-SERVICES")
	n.Run("iptables-legacy", "-t", "nat", "-A", "PREROUTING", "-j", "KUBE-SERVICES")
	ready("with rules of kube-proxy in both flavours, where that does not matter", "")
	not("where it does", `,"backend":"iptables"`, "both iptables-legacy and iptables-nft")
	n.Env = append(append([]string{}, path...), "PATH="+t.TempDir())
	ready("with rules of iptables-legacy that no tool is there for", "")
	n.Env = path
	n.Run("iptables-legacy", "-t", "nat", "-F")
	n.Run("iptables-legacy", "-t", "nat", "-X")
	n.Run("ip", "link", "add", "kube-ipvs0", "type", "bridge")
	not("nftables in ipvs mode", `,"backend":"nftables"`, "ipvs mode")
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
