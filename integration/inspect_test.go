// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/inventory"
)

// hostPorts is what portguard list says.
func hostPorts(t *testing.T, n *lab.Node) []inventory.Entry {
	t.Helper()
	out, err := cli(n, "list", "-o", "json")
	var l inventory.List
	if jerr := json.Unmarshal([]byte(out), &l); err != nil || jerr != nil {
		t.Fatalf("list: %v, %v\n%s", err, jerr, out)
	}
	return l.HostPorts
}

// listed is the same by address and port.
func listed(t *testing.T, n *lab.Node) map[string]inventory.Entry {
	t.Helper()
	found := map[string]inventory.Entry{}
	for _, e := range hostPorts(t, n) {
		key := fmt.Sprintf("%s %d/%s", e.Address, e.Port, e.Protocol)
		if _, twice := found[key]; twice {
			t.Errorf("%s is listed twice", key)
		}
		found[key] = e
	}
	return found
}

func TestList(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		confDir(t, n, list)
		if out, err := cli(n, "list"); err != nil || out != "No hostPorts on this node.\n" {
			t.Errorf("an empty node: %v %q", err, out)
		}
		old := n.Network("net", "46", lab.Conf{"type": "portmap"})
		pods := map[string]*lab.Pod{}
		for _, name := range []string{"web", "six", "later", "shadow", "dead", "lost", "portmapped"} {
			pods[name] = n.NewPod(name)
		}
		pods["web"].Serve(80, "web")
		n.MustAdd(pods["web"], list, lab.TCP(8080, 80), lab.UDP(8080, 80), lab.TCP(8081, 80).On(lab.NodeV4))
		n.MustAdd(pods["six"], list, lab.TCP(8084, 80).On(lab.NodeV6))
		n.MustAdd(pods["later"], n.Network("net", "46", lab.Conf{"reserve": "off"}), lab.TCP(9000, 80)) // a listener comes later
		n.MustAdd(pods["shadow"], list, lab.TCP(30080, 80))
		n.MustAdd(pods["dead"], list, lab.TCP(8089, 80))
		n.MustAdd(pods["portmapped"], old, lab.TCP(7000, 80))
		n.KubeProxy("10.9.9.9:80")
		defer n.ServeTCP("tcp4", ":9000", "host").Close()
		pods["dead"].Delete()
		for range 3 {
			want(t, "from outside", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
		}
		want(t, "from the node", n.Who("tcp4", "127.0.0.1:8080"), "web")
		held := n.Rules()
		got := listed(t, n)
		unchanged(t, n, held)
		backend := map[bool]string{true: "nftables", false: "iptables-" + n.Flavour}[n.Native()]
		for key, w := range map[string]struct {
			pod, target, backend, by string
			state                    inventory.State
			reason                   string
		}{
			"0.0.0.0 8080/tcp":       {"web", pods["web"].V4 + ":80", backend, "portguard", inventory.OK, ""},
			":: 8080/udp":            {"web", "[" + pods["web"].V6 + "]:80", backend, "portguard", inventory.OK, ""},
			lab.NodeV4 + " 8081/tcp": {"web", pods["web"].V4 + ":80", backend, "portguard", inventory.OK, ""},
			lab.NodeV6 + " 8084/tcp": {"six", "[" + pods["six"].V6 + "]:80", backend, "portguard", inventory.OK, ""},
			"0.0.0.0 9000/tcp":       {"later", pods["later"].V4 + ":80", backend, "portguard", inventory.Shadowed, "listens on 0.0.0.0:9000 and gets nothing"},
			":: 9000/tcp":            {"later", "[" + pods["later"].V6 + "]:80", backend, "portguard", inventory.OK, ""},
			"0.0.0.0 30080/tcp":      {"shadow", pods["shadow"].V4 + ":80", backend, "portguard", inventory.Shadowed, "Service default/web:http (NodePort) takes its traffic"},
			"0.0.0.0 8089/tcp":       {"dead", pods["dead"].V4 + ":80", backend, "portguard", inventory.Dead, "namespace is gone"},
			"0.0.0.0 7000/tcp":       {"portmapped", pods["portmapped"].V4 + ":80", "iptables-" + n.Flavour, "portmap", inventory.OK, ""},
			":: 7000/tcp":            {"portmapped", "[" + pods["portmapped"].V6 + "]:80", "iptables-" + n.Flavour, "portmap", inventory.OK, ""},
		} {
			e := got[key]
			if e.Pod != "default/"+w.pod || e.Target.String() != w.target || e.Backend != w.backend || e.By != w.by || e.State != w.state || !strings.Contains(e.Reason, w.reason) {
				t.Errorf("%s: got %+v, want %+v", key, e, w)
			}
			if (e.By == "portguard") == e.Created.IsZero() {
				t.Errorf("%s: created %v", key, e.Created)
			}
		}
		if p := got["0.0.0.0 8080/tcp"].Packets; p == nil || *p != 4 {
			t.Errorf("4 connections, and %v packets are counted", p)
		}
		if len(got) != 14 {
			t.Errorf("%d entries, want 14: %v", len(got), got)
		}
		// All that is lost is missing, but for the dead.
		if n.Native() {
			n.Run("nft", "delete", "table", "inet", "portguard")
		} else {
			n.Run("sh", "-c", "for t in nat mangle; do iptables -t $t -F; ip6tables -t $t -F; iptables -t $t -X; ip6tables -t $t -X; done")
		}
		got = listed(t, n)
		for key, state := range map[string]inventory.State{"0.0.0.0 8080/tcp": inventory.Missing, lab.NodeV6 + " 8084/tcp": inventory.Missing, ":: 8089/tcp": inventory.Dead} {
			if got[key].State != state {
				t.Errorf("after the flush %s is %q, want %q", key, got[key].State, state)
			}
		}
		out, err := cli(n, "list")
		if err != nil || strings.Count(out, "\n") != len(got)+1 || !strings.HasPrefix(out, "ADDRESS") {
			t.Errorf("table: %v\n%s", err, out)
		}
	})
}

// diagnosis is what portguard doctor finds, by check, and whether the node is fit.
func diagnosis(t *testing.T, n *lab.Node) (map[string]doctor.Finding, bool) {
	t.Helper()
	out, err := cli(n, "doctor", "-o", "json")
	var d struct {
		Version  int
		Fit      bool
		Findings []doctor.Finding
	}
	if jerr := json.Unmarshal([]byte(out), &d); jerr != nil || d.Version != 1 || d.Fit != (err == nil) {
		t.Fatalf("doctor: %v, %v\n%s", err, jerr, out)
	}
	found := map[string]doctor.Finding{}
	for _, f := range d.Findings {
		if f.Check == "state" && strings.Contains(f.Message, "on a disk") {
			continue // the directories of tests are, but for those that inMemory has made
		}
		if f.Severity != doctor.Info && f.Remedy == "" {
			t.Errorf("%s has no remedy: %s", f.Check, f.Message)
		}
		if was, known := found[f.Check]; !known || was.Severity == doctor.Info || f.Severity == doctor.Problem {
			found[f.Check] = f
		}
	}
	return found, d.Fit
}

// Every ill that doctor knows is made, found, and gone again with its remedy.
func TestDoctor(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		dir := confDir(t, n, list)
		n.KubeProxy("10.9.9.9:80")
		web := n.NewPod("web")
		web.Serve(80, "web")
		n.MustAdd(web, list, lab.TCP(8080, 80))
		held := n.Rules()
		if found, fit := diagnosis(t, n); !fit || len(found) != 3 {
			t.Errorf("a healthy node: %+v", found)
		}
		unchanged(t, n, held)
		for _, ill := range ills(t, n, list, dir) {
			t.Run(ill.name, func(t *testing.T) {
				undo := ill.cause()
				found, fit := diagnosis(t, n)
				f := found[ill.check]
				if f.Severity != ill.severity || !strings.Contains(f.Message, ill.says) || fit != (ill.severity == doctor.Warning) {
					t.Errorf("got %+v, fit %v; want %s %q", found, fit, ill.severity, ill.says)
				}
				undo()
				if found, fit := diagnosis(t, n); !fit {
					t.Errorf("still ill: %+v", found)
				}
			})
		}
	})
}

type ill struct {
	name, check string
	severity    doctor.Severity
	says        string
	cause       func() (undo func())
}

func ills(t *testing.T, n *lab.Node, list, dir string) []ill {
	conflist := filepath.Join(dir, "10-net.conflist")
	rewrite := func(from, to string) func() func() {
		return func() func() {
			if !strings.Contains(list, from) {
				t.Fatalf("%s is not in %s", from, list)
			}
			write(t, conflist, strings.ReplaceAll(list, from, to))
			return func() { write(t, conflist, list) }
		}
	}
	add := func(name string, conf string, ports ...lab.Port) (*lab.Pod, func()) {
		p := n.NewPod(name)
		n.MustAdd(p, conf, ports...)
		return p, func() { _ = n.Del(p, conf, ports...) }
	}
	return []ill{
		{"the capability is not declared", "capability", doctor.Problem, "tells it no hostPorts", rewrite(`"portMappings":true`, `"portMappings":false`)},
		{"a key is wrong", "conflist", doctor.Problem, "conflictPolicy", rewrite(`"type":"portguard"`, `"type":"portguard","conflictPolicy":"maybe"`)},
		{"nobody names portguard", "conflist", doctor.Problem, "names portguard", rewrite(`"type":"portguard"`, `"type":"tuning"`)},
		{"portmap is named too", "implementers", doctor.Problem, "both portguard and portmap", rewrite(`"plugins":[`, `"plugins":[{"type":"portmap"},`)},
		{"another file comes first", "conflist", doctor.Warning, "runtimes take", func() func() {
			first := filepath.Join(dir, "00-other.conflist")
			write(t, first, `{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"bridge"}]}`)
			return func() { _ = os.Remove(first) }
		}},
		{"forwarding is off", "forwarding", doctor.Problem, "ip_forward is 0", func() func() {
			n.Sysctl("net/ipv4/ip_forward", "0")
			return func() { n.Sysctl("net/ipv4/ip_forward", "1") }
		}},
		{"FORWARD drops", "forward-drop", doctor.Problem, "dropped by the policy of iptables-", func() func() {
			n.Iptables("", "-P FORWARD DROP")
			n.Iptables("", "-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT") // as KUBE-FORWARD does
			want(t, "behind a policy of DROP", n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
			return func() {
				n.Iptables("", "-I FORWARD -m conntrack --ctstate DNAT -j ACCEPT") // the remedy
				n.Iptables("", "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
				want(t, "with the remedy", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
			}
		}},
		{"a rule drops one pod's", "forward-drop", doctor.Problem, "dropped by iptables-nft IPv4 filter FORWARD", func() func() {
			p, del := add("lonely", list, lab.TCP(8088, 81))
			p.Serve(81, "lonely")
			n.Run("iptables-nft", "-I", "FORWARD", "-d", p.V4, "-p", "tcp", "--dport", "81", "-j", "DROP")
			want(t, "behind that rule", n.Client.Who("tcp4", lab.NodeV4+":8088"), "")
			return func() {
				n.Run("iptables-nft", "-D", "FORWARD", "1")
				want(t, "without it", n.Client.Who("tcp4", lab.NodeV4+":8088"), "lonely")
				del()
			}
		}},
		{"an nft filter drops", "forward-drop", doctor.Problem, "dropped by nftables inet fw", func() func() {
			n.Feed("table inet fw { chain f { type filter hook forward priority 0;\n tcp dport 80 drop\n }\n }", "nft", "-f", "-")
			want(t, "behind an nft filter", n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
			return func() { n.Run("nft", "delete", "table", "inet", "fw") }
		}},
		{"an owner is dead", "dead-owner", doctor.Warning, "pod default/dead is gone", func() func() {
			p, _ := add("dead", list, lab.TCP(8089, 80))
			p.Delete()
			return func() { gone(t, n) }
		}},
		{"a link may carry Services", "virtual-link", doctor.Warning, "link vips carries 4 single addresses", func() func() {
			carry(n, "vips", "10.97.0.1", "10.97.0.2", "fd00:97::1", "fd00:97::2")
			return func() { n.Run("ip", "link", "del", "vips") }
		}},
		{"a NodePort came later", "shadowed", doctor.Problem, "NodePort", func() func() {
			line := "KUBE-NODEPORTS -p tcp -m comment --comment later/svc --dport 8080 -j KUBE-EXT-CDGGSHYLG3RE2FKL"
			n.Iptables("", "-t nat -A "+line)
			return func() { n.Iptables("", "-t nat -D "+line) }
		}},
		{"rules are gone", "missing", doctor.Problem, "hostPort 8080/tcp", func() func() {
			if n.Native() {
				n.Run("nft", "flush", "chain", "inet", "portguard", "hostports4")
			} else {
				n.Iptables("", "-t nat -F PORTGUARD-HOSTPORTS")
			}
			return func() {
				if out, err := cli(n, "restore"); err != nil {
					t.Errorf("restore: %v %s", err, out)
				}
			}
		}},
		{"a port is ephemeral", "ephemeral", doctor.Warning, "ip_local_port_range", func() func() {
			_, del := add("eph", n.Network("net", "46", lab.Conf{"reserve": "off"}), lab.TCP(40000, 80))
			return del
		}},
		{"a process wanted the port", "reservation", doctor.Warning, "pod default/wanted holds 9001/udp; a bind was refused once", func() func() {
			_, del := add("wanted", list, lab.UDP(9001, 80))
			if err := n.Bind(lab.Socket{Network: "udp6"}, 9001); err == nil {
				t.Error("bind was not refused")
			}
			return del
		}},
		{"portmap maps too", "implementers", doctor.Warning, "are portmap's", func() func() {
			_, del := add("old", n.Network("net", "46", lab.Conf{"type": "portmap"}), lab.TCP(7000, 80))
			return del
		}},
		{"a record is unreadable", "unreadable", doctor.Problem, "unexpected end of JSON", func() func() {
			f := filepath.Join(n.Dir, "state", strings.Repeat("A", 24)+".json")
			write(t, f, "{")
			return func() { _ = os.Remove(f) }
		}},
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// gone has gc remove the dead, after it has only said so.
func gone(t *testing.T, n *lab.Node) {
	t.Helper()
	held := n.Rules()
	if out, err := cli(n, "gc", "--dry-run"); err != nil || out != "would remove hostPort 8089/tcp of pod default/dead (portguard)\n" {
		t.Errorf("gc --dry-run: %v %q", err, out)
	}
	unchanged(t, n, held)
	if out, err := cli(n, "gc"); err != nil || out != "removed hostPort 8089/tcp of pod default/dead (portguard)\n" {
		t.Errorf("gc: %v %q", err, out)
	}
	if out, err := cli(n, "gc"); err != nil || out != "Nothing is left of dead pods.\n" {
		t.Errorf("gc again: %v %q", err, out)
	}
	want(t, "the living", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
}
