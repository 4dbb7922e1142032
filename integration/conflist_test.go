// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/netconf"
)

// conflists returns the files we ship.
func conflists(t *testing.T) []string {
	t.Helper()
	files, _ := filepath.Glob("../conflist/*.conflist")
	for _, name := range []string{"bridge", "bridge-dual-stack", "ptp", "flannel", "calico", "canal", "kindnet"} {
		if !slices.Contains(files, "../conflist/10-"+name+".conflist") {
			t.Errorf("there is none for %s", name)
		}
	}
	return files
}

// The conflists we ship are read by libcni and by the plugin, declare the
// capability without which a runtime passes no ports, and leave no second plugin
// that maps ports.
func TestConflists(t *testing.T) {
	for _, f := range conflists(t) {
		list, err := libcni.ConfListFromFile(f)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		found := 0
		for i, p := range list.Plugins {
			switch {
			case p.Network.Type == "portmap":
				t.Errorf("%s: names portmap too", f)
			case p.Network.Type != "portguard":
				continue
			case i == 0 || !p.Network.Capabilities["portMappings"]:
				t.Errorf("%s: portguard is not chained, or without the portMappings capability", f)
			}
			found++
			if _, err := netconf.Parse(p.Bytes); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
		if found != 1 {
			t.Errorf("%s: portguard is there %d times", f, found)
		}
	}
}

// plugin is an entry of a conflist.
type plugin = map[string]any

// readConflist reads a conflist for a node: state and address pools are the
// node's, and a main plugin that is not here has a stand-in.
func readConflist(t *testing.T, n *lab.Node, file string, more ...any) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list map[string]any
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	plugins := append(list["plugins"].([]any), more...)
	plugins[0] = standIn(plugins[0].(plugin))
	plugins[0].(plugin)["ipam"].(plugin)["dataDir"] = filepath.Join(n.Dir, "ipam")
	for _, p := range plugins {
		if p.(plugin)["type"] == "portguard" {
			p.(plugin)["dataDir"] = filepath.Join(n.Dir, "state")
		}
	}
	list["plugins"] = plugins
	if b, err = json.Marshal(list); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// standIn returns what works like a main plugin that needs its daemon. flannel
// makes this of its delegate, and has bridge do it. calico's pods are, like those
// of ptp, on routed links of their own.
func standIn(p plugin) plugin {
	ipam := plugin{"type": "host-local", "ranges": []any{[]any{plugin{"subnet": "10.244.1.0/24"}}}}
	switch p["type"] {
	case "flannel":
		d := p["delegate"].(plugin)
		d["type"], d["mtu"], d["ipMasq"], d["isGateway"], d["ipam"] = "bridge", 1450, false, true, ipam
		ipam["routes"] = []any{plugin{"dst": "10.244.0.0/16"}}
		return d
	case "calico":
		ipam["routes"] = []any{plugin{"dst": "0.0.0.0/0"}}
		return plugin{"type": "ptp", "ipam": ipam}
	}
	return p
}

// Each conflist maps a port, and leaves nothing behind.
func TestConflistsMap(t *testing.T) {
	for _, f := range conflists(t) {
		t.Run(filepath.Base(f), func(t *testing.T) {
			n := newNode(t, "", "nft")
			mapsOnePort(t, n, readConflist(t, n, f))
		})
	}
	// What Calico's manifest (until 3.29) and its operator put behind portmap.
	t.Run("before bandwidth and tuning", func(t *testing.T) {
		n := newNode(t, "", "nft")
		pod := mapsOnePort(t, n, readConflist(t, n, "../conflist/10-calico.conflist",
			plugin{"type": "bandwidth", "capabilities": plugin{"bandwidth": true}},
			plugin{"type": "tuning", "sysctl": plugin{"net.core.somaxconn": "500"}}))
		want(t, "sysctl that tuning set", pod.ReadSysctl("net/core/somaxconn"), "500")
	})
}

// mapsOnePort adds and deletes a pod, with traffic in between.
func mapsOnePort(t *testing.T, n *lab.Node, list string) *lab.Pod {
	t.Helper()
	pod, neighbour := n.NewPod("web"), n.NewPod("neighbour")
	pod.Serve(80, "web")
	n.MustAdd(neighbour, list)
	before := n.Rules()
	ports := []lab.Port{lab.TCP(8080, 80), lab.UDP(8080, 80)}
	n.MustAdd(pod, list, ports...)
	answer(t, n, pod, neighbour, "web")
	refused(t, n, list, 101, []string{"default/web"}, lab.TCP(8080, 80))

	// CHECK came with 0.4.0; libcni refuses it for older lists.
	old := strings.Contains(list, `"cniVersion":"0.3.1"`)
	if err := n.Check(pod, list, ports...); (err != nil) != old {
		t.Errorf("CHECK: %v", err)
	}
	if err := n.Del(pod, list, ports...); err != nil {
		t.Fatalf("DEL: %v", err)
	}
	want(t, "from outside after DEL", n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
	unchanged(t, n, before)
	if files := n.StateFiles(); len(files) > 0 {
		t.Errorf("state left after DEL: %v", files)
	}
	return pod
}

// answer asks for the pod's port from everywhere, over the families it has.
func answer(t *testing.T, n *lab.Node, pod, neighbour *lab.Pod, name string) {
	t.Helper()
	for v, host := range map[string]string{"4": lab.NodeV4, "6": lab.NodeV6} {
		if v == "6" && pod.V6 == "" {
			continue
		}
		addr := net.JoinHostPort(host, "8080")
		for _, proto := range []string{"tcp" + v, "udp" + v} {
			want(t, proto+" from outside", n.Client.Who(proto, addr), name)
			want(t, proto+" from the node", n.Who(proto, addr), name)
			want(t, proto+" hairpin", pod.Who(proto, addr), name)
			want(t, proto+" from a neighbour", neighbour.Who(proto, addr), name)
		}
	}
	want(t, "through localhost", n.Who("tcp4", "127.0.0.1:8080"), name)
}
