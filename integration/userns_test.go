// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// nobody is whom root of the user namespaces is for the machine.
const nobody = 65534

// A root in a user namespace has its network namespaces and nothing else of the machine:
// rootless containers, LXC, Kubernetes in a container. The test runs itself there. The
// network namespace of the node is made after the map of the user namespace, or before it:
// then what is root's in /proc belongs to nobody.
func TestUserns(t *testing.T) {
	if how := os.Getenv("PORTGUARD_USERNS"); how != "" {
		node, how, _ := strings.Cut(how, " ")
		backend, flavour, _ := strings.Cut(how, " ")
		var n *lab.Node
		if node == "early" {
			n = lab.NewNodeIn(t, lab.Existing(t, node), bin, flavour)
		} else {
			n = newNode(t, backend, flavour)
		}
		n.Backend = backend
		inUserns(t, n)
		return
	}
	for _, how := range []string{"later nftables nft", "later iptables nft", "early nftables nft", "early iptables legacy"} {
		t.Run(how, func(t *testing.T) { startInUserns(t, how) })
	}
}

// startInUserns runs the test again, as root of a user namespace.
func startInUserns(t *testing.T, how string) {
	t.Helper()
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	const script = `mount -t tmpfs run /run && mkdir /run/netns && ip netns attach early $$ && exec unshare -n /proc/self/fd/3 -test.run='^TestUserns$'`
	cmd := exec.Command("sh", "-c", script)
	cmd.ExtraFiles = []*os.File{exe}
	cmd.Env = append(os.Environ(), "PORTGUARD_USERNS="+how, "PORTGUARD_BIN="+bin, "TMPDIR=/run")
	cmd.SysProcAttr = rootOfUserns(syscall.CLONE_NEWNS | syscall.CLONE_NEWNET)
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "no tests to run") {
		t.Errorf("%v\n%s", err, out)
	}
}

func rootOfUserns(flags uintptr) *syscall.SysProcAttr {
	root := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}}
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | flags, UidMappings: root, GidMappings: root,
		Credential: &syscall.Credential{NoSetGroups: true}}
}

// inUserns does all that portguard does, with traffic.
func inUserns(t *testing.T, n *lab.Node) {
	t.Helper()
	list := n.Network("net", "46", nil)
	confDir(t, n, list)
	web, other := n.NewPod("web"), n.NewPod("other")
	web.Serve(80, "web")
	before := n.Rules()
	if out, _, err := n.Call("STATUS", web, statusConf(n, "")); err != nil {
		t.Errorf("STATUS: %s", out)
	}
	if found, fit := diagnosis(t, n); !fit {
		t.Errorf("doctor: %+v", found)
	}
	unchanged(t, n, before)
	ports := []lab.Port{lab.TCP(8080, 80), lab.UDP(8080, 80)}
	// Only root of the machine can attach a program that chooses sockets, and ask for one.
	if said := strings.TrimSpace(n.MustAdd(web, list, ports...)); said != "" {
		t.Errorf("ADD: %s", said)
	}
	if out, _ := cli(n, "doctor"); !strings.Contains(out, "the kernel lets only root of the machine ask for BPF programs") {
		t.Errorf("doctor: %s", out)
	}
	for _, proto := range []string{"tcp", "udp"} {
		want(t, proto+" from outside", n.Client.Get(proto+"4", net.JoinHostPort(lab.NodeV4, "8080")), "web "+lab.ClientV4)
		want(t, proto+" from outside, IPv6", n.Client.Get(proto+"6", net.JoinHostPort(lab.NodeV6, "8080")), "web "+lab.ClientV6)
		want(t, proto+" through localhost", n.Who(proto+"4", "127.0.0.1:8080"), "web")
		want(t, proto+" hairpin", web.Who(proto+"4", net.JoinHostPort(lab.NodeV4, "8080")), "web")
	}
	if err := n.Check(web, list, ports...); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	if got := listed(t, n); len(got) != 4 || got["0.0.0.0 8080/tcp"].State != "ok" {
		t.Errorf("list: %+v", got)
	}
	if found, fit := diagnosis(t, n); !fit {
		t.Errorf("doctor beside a mapping: %+v", found)
	}
	refusals(t, n, list)
	if n.Native() {
		n.Run("nft", "flush", "ruleset")
		if out, err := cli(n, "restore"); err != nil {
			t.Errorf("restore: %v %s", err, out)
		}
		want(t, "after restore", n.Client.Who("tcp4", net.JoinHostPort(lab.NodeV4, "8080")), "web")
	}
	ends(t, n, list, web, other, before)
}

// refusals are ports that others have: a pod, a socket, a rule of either iptables.
func refusals(t *testing.T, n *lab.Node, list string) {
	t.Helper()
	defer n.ServeTCP("tcp4", ":7070", "node").Close()
	for _, fl := range []string{"nft", "legacy"} {
		rule := "PREROUTING -p tcp --dport 909" + fmt.Sprint(len(fl)) + " -j REDIRECT --to-ports 9999"
		n.Run("sh", "-c", "iptables-"+fl+" -t nat -A "+rule)
		defer n.Run("sh", "-c", "iptables-"+fl+" -t nat -D "+rule)
	}
	for port, code := range map[int]string{8080: "101", 7070: "100", 9093: "103", 9096: "103"} {
		_, err := n.Add(n.NewPod("late"), list, lab.TCP(port, 80))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("hostPort %d/tcp", port)) {
			t.Errorf("ADD of %d: %v", port, err)
		}
		if out, _ := cli(n, "explain", fmt.Sprint(port)); !strings.Contains(out, "would be refused (code "+code+")") {
			t.Errorf("explain %d: %s", port, out)
		}
	}
}

// ends takes the pods away, by GC and by DEL.
func ends(t *testing.T, n *lab.Node, list string, web, other *lab.Pod, before string) {
	t.Helper()
	n.MustAdd(other, list, lab.TCP(8081, 80))
	if out, err := cli(n, "gc"); err != nil || strings.Contains(out, "808") {
		t.Errorf("gc of the living: %v %s", err, out)
	}
	mustCall(t, n, "GC", web, collect(n, "net", validAre(web)))
	want(t, "of who went with GC", n.Client.Who("tcp4", net.JoinHostPort(lab.NodeV4, "8081")), "")
	want(t, "after GC", n.Client.Who("tcp4", net.JoinHostPort(lab.NodeV4, "8080")), "web")
	if err := n.Del(web, list); err != nil {
		t.Errorf("DEL: %v", err)
	}
	if err := n.Del(other, list); err != nil {
		t.Errorf("DEL of the other: %v", err)
	}
	unchanged(t, n, before)
	want(t, "route_localnet after DEL", n.ReadSysctl("net/ipv4/conf/cni0/route_localnet"), "0")
}
