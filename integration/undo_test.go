// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// closedSysctls runs a command with /proc/sys read-only, so that route_localnet
// cannot be switched on: the last step of an ADD fails.
func closedSysctls() []string {
	return []string{"unshare", "-m", "sh", "-c", `mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec "$@"`, "sh"}
}

// An ADD that fails at its last step leaves everything as it was, whatever was
// there before.
func TestUndoOfTheLastStep(t *testing.T) {
	ports := func(container int) string {
		return fmt.Sprintf(`[{"hostPort":8080,"containerPort":%d},{"hostPort":8080,"containerPort":%d,"protocol":"udp"}]`, container, container)
	}
	const only = `,"conditionsV4":["ip","saddr","192.0.2.2"],"conditionsV6":["ip6","saddr","2001:db8:2::2"]`
	for _, tc := range []struct {
		name, backend string
		first, second string // more of the configuration; "" for first is no ADD before
		dead          bool
	}{
		{"of a first ADD", "nftables", "", `,"localhost":true`, false},
		{"of a first ADD with conditions", "", "", only, false},
		{"of other ports", "nftables", `,"localhost":false`, `,"localhost":true`, false},
		{"of other conditions", "", only + `,"localhost":false`, strings.ReplaceAll(only, "2\"", "3\"") + `,"localhost":true`, false},
		{"of dropped conditions", "", only + `,"localhost":false`, `,"localhost":true`, false},
		{"of a take-over", "nftables", `,"localhost":false`, `,"localhost":true`, true},
		{"of a take-over of conditions", "", only + `,"localhost":false`, `,"localhost":true`, true},
		{"of a move to iptables", "", `,"backend":"nftables","localhost":false`, `,"backend":"iptables"`, false},
		{"of a move from iptables", "", `,"backend":"iptables","localhost":false`, `,"backend":"nftables"`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNode(t, tc.backend, "nft")
			other, first, pod := n.NewPod("other"), n.NewPod("first"), n.NewPod("pod")
			link(n, pod)
			mustCall(t, n, "ADD", other, direct(n, other, `[{"hostPort":1,"containerPort":1}]`, `,"localhost":false,"backend":"nftables"`))
			if !tc.dead {
				first = pod
			}
			if tc.first != "" {
				mustCall(t, n, "ADD", first, direct(n, first, ports(80), tc.first))
			}
			if tc.dead {
				first.Delete()
			}
			before, files := n.Rules(), len(n.StateFiles())
			out, errs, err := n.Call("ADD", pod, direct(n, pod, ports(90), tc.second), closedSysctls()...)
			if err == nil || !strings.Contains(out, "route_localnet") || strings.Contains(out, "could not be undone") {
				t.Fatalf("ADD: %v %s %s", err, out, errs)
			}
			unchanged(t, n, before)
			if now := len(n.StateFiles()); now != files {
				t.Errorf("%d records, %d before", now, files)
			}
			want(t, "route_localnet", n.ReadSysctl("net/ipv4/conf/pod0/route_localnet"), "0")
			mustCall(t, n, "ADD", pod, direct(n, pod, ports(90), tc.second))
			mustCall(t, n, "CHECK", pod, direct(n, pod, ports(90), tc.second))
			for _, p := range []*lab.Pod{pod, first, other} {
				mustCall(t, n, "DEL", p, bare(n))
			}
			unchanged(t, n, "")
			want(t, "route_localnet at the end", n.ReadSysctl("net/ipv4/conf/pod0/route_localnet"), "0")
		})
	}
}

// The sysctl cannot be opened, once, whatever it is opened for: an ADD that fails for it leaves
// it off, also where it failed behind the write.
func TestUndoOfTheSysctl(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	pod := n.NewPod("web")
	link(n, pod)
	failed := 0
	for k := range 8 {
		inject := []string{"strace", "-f", "-qq", "-o", "/dev/null", "-P", "/proc/sys/net/ipv4/conf/pod0/route_localnet", "-e", "trace=openat", "-e", fmt.Sprintf("inject=openat:error=EMFILE:when=%d", k+1)}
		if out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, ""), inject...); err != nil {
			failed++
			unchanged(t, n, "")
			want(t, fmt.Sprintf("route_localnet after open %d failed: %s", k+1, out), n.ReadSysctl("net/ipv4/conf/pod0/route_localnet"), "0")
		}
		mustCall(t, n, "DEL", pod, bare(n))
		n.Sysctl("net/ipv4/conf/pod0/route_localnet", "0")
	}
	if failed < 2 {
		t.Errorf("%d ADDs failed", failed)
	}
}

// A socket cannot be made, once, whatever it is for: a DEL fails, or leaves no port held.
func TestDelWithoutASocket(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	pod := n.NewPod("web")
	conf := direct(n, pod, `[{"hostPort":40001,"containerPort":80,"protocol":"udp"}]`, `,"localhost":false`)
	failed := 0
	for k := range 12 {
		mustCall(t, n, "ADD", pod, conf)
		inject := []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=socket", "-e", fmt.Sprintf("inject=socket:error=EMFILE:when=%d", k/2+1)}
		if _, _, err := n.Call("DEL", pod, conf, inject...); err != nil {
			failed++
			mustCall(t, n, "DEL", pod, conf)
		}
		unchanged(t, n, "")
		want(t, fmt.Sprintf("reserved after DEL %d", k), n.ReadSysctl("net/ipv4/ip_local_reserved_ports"), "")
		mustCall(t, n, "DEL", pod, conf)
	}
	if failed == 0 {
		t.Error("no DEL failed")
	}
}

func TestWarnPolicy(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", lab.Conf{"conflictPolicy": "warn"})
		defer n.ServeTCP("tcp", ":80", "host").Close()
		if out := accepted(t, n, list, lab.TCP(80, 80)); !strings.Contains(out, "is taken") {
			t.Errorf("no warning: %q", out)
		}
	})
}

// With the policy "warn" a live owner keeps what it has, in both families, and the
// newcomer gets the rest.
func TestWarnKeepsOwners(t *testing.T) {
	for _, way := range [][2]string{{"nftables", "nftables"}, {"iptables", "iptables"}, {"nftables", "iptables"}, {"iptables", "nftables"}} {
		t.Run(way[0]+" then "+way[1], func(t *testing.T) {
			n := newNode(t, "", "nft")
			one, two, third := n.NewPod("one"), n.NewPod("two"), n.NewPod("third")
			link(n, two)
			conf := func(p *lab.Pod, port int, more string) string {
				return direct(n, p, fmt.Sprintf(`[{"hostPort":%d,"containerPort":80}]`, port), more)
			}
			mustCall(t, n, "ADD", one, conf(one, 8080, `,"localhost":false,"backend":"`+way[0]+`"`))
			warn := `,"conflictPolicy":"warn","backend":"` + way[1] + `"`
			held := n.Rules()
			_, errs, err := n.Call("ADD", two, conf(two, 8080, warn))
			if err != nil || !strings.Contains(errs, "is taken") {
				t.Fatalf("ADD: %v %s", err, errs)
			}
			unchanged(t, n, held)
			want(t, "route_localnet of a pod that got nothing", n.ReadSysctl("net/ipv4/conf/pod0/route_localnet"), "0")
			mustCall(t, n, "CHECK", two, conf(two, 8080, warn))
			mustCall(t, n, "ADD", third, conf(third, 1, `,"localhost":false`))
			mustCall(t, n, "DEL", third, bare(n))
			mustCall(t, n, "DEL", two, bare(n))
			unchanged(t, n, held)
			mustCall(t, n, "CHECK", one, conf(one, 8080, `,"localhost":false,"backend":"`+way[0]+`"`))
			mustCall(t, n, "DEL", one, bare(n))
			unchanged(t, n, "")
		})
	}
}

// A stranger's table of our name stops no DEL, and chains called like ours
// elsewhere are looked into.
func TestStrangersWithOurNames(t *testing.T) {
	n := newNode(t, "iptables", "nft")
	pod := n.NewPod("web")
	mustCall(t, n, "ADD", pod, direct(n, pod, mapping, ""))
	n.Run("nft", "add table inet portguard; add set inet portguard guarded { type ipv4_addr; }")
	mustCall(t, n, "DEL", pod, bare(n))
	out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, `,"backend":"nftables"`))
	if err == nil || !strings.Contains(out, "nft delete table inet portguard") {
		t.Errorf("ADD beside a stranger's table: %v %s", err, out)
	}
	n.Run("nft", "delete table inet portguard")
	unchanged(t, n, "")
	for _, rules := range []string{
		"table inet foo { chain PORTGUARD-X { tcp dport 8080 dnat ip to 10.9.9.9:1; }; chain pre { type nat hook prerouting priority -100; jump PORTGUARD-X; }; }",
		"table inet portguard { chain pre { type nat hook prerouting priority -100; tcp dport 8080 dnat ip to 10.9.9.9:1; }; }",
	} {
		n.Feed(rules, "nft", "-f", "-")
		if out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, `,"backend":"nftables"`)); err == nil || !strings.Contains(out, "a NAT rule has it") {
			t.Errorf("%s: %v %s", rules, err, out)
		}
		n.Run("nft", "flush", "ruleset")
	}
}

// What ADD left out on 127.0.0.1 is known without its record.
func TestCheckWithoutRecordOfACarve(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		pod := n.NewPod("web")
		link(n, pod)
		defer n.ServeTCP("tcp4", "127.0.0.1:8080", "host").Close()
		conf := direct(n, pod, `[{"hostPort":8080,"containerPort":80}]`, "")
		mustCall(t, n, "ADD", pod, conf)
		n.WipeState()
		mustCall(t, n, "CHECK", pod, conf)
		want(t, "who has 127.0.0.1", n.Who("tcp4", "127.0.0.1:8080"), "host")
		mustCall(t, n, "DEL", pod, bare(n))
		unchanged(t, n, "")
	})
}

// route_localnet stays on for an attachment in the other backend, also if its
// record is lost.
func TestLocalnetOfOthers(t *testing.T) {
	for _, way := range [][2]string{{"iptables", "nftables"}, {"nftables", "iptables"}} {
		t.Run(way[0]+" stays", func(t *testing.T) {
			n := newNode(t, "", "nft")
			stays, goes := n.NewPod("stays"), n.NewPod("goes")
			link(n, stays)
			first := direct(n, stays, `[{"hostPort":8080,"containerPort":80}]`, `,"backend":"`+way[0]+`"`)
			mustCall(t, n, "ADD", stays, first)
			n.WipeState()
			mustCall(t, n, "ADD", goes, direct(n, goes, `[{"hostPort":8081,"containerPort":80}]`, `,"backend":"`+way[1]+`"`))
			mustCall(t, n, "DEL", goes, bare(n))
			want(t, "route_localnet", n.ReadSysctl("net/ipv4/conf/pod0/route_localnet"), "1")
			mustCall(t, n, "CHECK", stays, first)
			mustCall(t, n, "DEL", stays, bare(n))
			want(t, "route_localnet at the end", n.ReadSysctl("net/ipv4/conf/pod0/route_localnet"), "0")
			unchanged(t, n, "")
		})
	}
}
