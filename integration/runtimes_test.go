// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/inventory"
)

// second is a conflist of another network: a bridge and addresses of its own.
func second(n *lab.Node, conf lab.Conf) string {
	return strings.NewReplacer(`"cni0"`, `"cni1"`, lab.PodNetV4, "10.89.0.0/16", lab.PodNetV6, "fd00:89::/64").Replace(n.Network("second", "46", conf))
}

// holder is the interface of a container that has a port, and how many wait for it.
func holder(t *testing.T, n *lab.Node, port uint16) (ifName string, waiting int) {
	t.Helper()
	for _, e := range hostPorts(t, n) {
		switch {
		case e.Port != port || !e.Address.Is4():
		case e.State == inventory.Waiting:
			waiting++
		case e.State == inventory.OK && (ifName == "" || ifName == e.IfName):
			ifName = e.IfName
		default:
			t.Errorf("%s is %s: %s", e.IfName, e.State, e.Reason)
		}
	}
	return ifName, waiting
}

// Multus hands the ports of a pod to each of its networks, nerdctl and podman those of a
// container. The first interface has them, and the next one from the moment at which that
// goes; UDP clients need no new socket.
func TestInterfacesOfOnePod(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"iptables", "nftables"} {
		n := newNode(t, backend, "nft")
		list, other := n.Network("net", "46", nil), second(n, nil)
		confDir(t, n, list)
		ports := []lab.Port{lab.TCP(8080, 80), lab.UDP(8080, 80)}
		before := n.Rules()
		eth0 := n.NewPod("web")
		net1 := eth0.On("net1")
		eth0.ServeTCP("tcp", ":80", "web")
		add := func(p *lab.Pod, list string) string {
			said := n.MustAdd(p, list, ports...)
			p.ServeUDP("udp4", p.V4+":80", "web") // a wildcard socket would answer by either interface
			return said
		}
		add(eth0, list)
		if said := add(net1, other); !strings.Contains(said, "hostPort 8080/tcp stays with eth0 (network net) of the same container") {
			t.Errorf("stderr of the second ADD: %q", said)
		}
		udp := n.Client.Open("udp4", lab.NodeV4+":8080")
		has := func(when, ifName string, others int) {
			t.Helper()
			if got, waiting := holder(t, n, 8080); got != ifName || waiting != 2*others {
				t.Errorf("%s: %q has the port and %d wait, want %q and %d", when, got, waiting, ifName, 2*others)
			}
			want(t, when+", from outside", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
			want(t, when+", IPv6", n.Client.Who("tcp6", "["+lab.NodeV6+"]:8080"), "web")
			want(t, when+", a UDP client that keeps its socket", lab.Ask(udp), "web "+lab.ClientV4)
			want(t, when+", localhost", n.Who("tcp4", "127.0.0.1:8080"), "web")
			for p, list := range map[*lab.Pod]string{eth0: list, net1: other} {
				if p == eth0 && others == 0 {
					continue
				}
				if err := n.Check(p, list, ports...); err != nil {
					t.Errorf("%s: CHECK of %q: %v", when, p.IfName, err)
				}
			}
		}
		has("after two ADDs", "eth0", 1)
		if out, err := n.Add(n.NewPod("stranger"), list, ports...); err == nil || !strings.Contains(err.Error(), "pod default/web has hostPort 8080/tcp") {
			t.Errorf("ADD of another pod: %v\n%s", err, out)
		}
		if err := n.Del(eth0, list, ports...); err != nil {
			t.Fatal(err)
		}
		has("after DEL of the first", "net1", 0)
		add(eth0, list)
		has("after the first came back", "net1", 1)
		n.Run("nft", "flush ruleset")
		if out, err := cli(n, "restore"); err != nil || strings.Count(out, "restored pod default/web") != 1 {
			t.Errorf("restore: %v %q", err, out)
		}
		has("after a flush and restore", "net1", 1)
		mustCall(t, n, "GC", eth0, collect(n, "second", validAre(eth0)))
		has("after GC of the holder", "eth0", 0)
		for p, list := range map[*lab.Pod]string{eth0: list, net1: other} {
			if err := n.Del(p, list, ports...); err != nil {
				t.Error(err)
			}
		}
		if n.Rules() != before && n.Mapped("10.8") != 0 || strings.Contains(n.Rules(), "portguard") {
			t.Errorf("rules are left:\n%s", n.Rules())
		}
	}
}

// The interfaces of a pod may be in different places of the kernel.
func TestInterfacesInTwoBackends(t *testing.T) {
	n := newNode(t, "", "nft")
	conditions := lab.Conf{"conditionsV4": []string{"-s", lab.ClientV4}}
	for _, lists := range [][2]string{{n.Network("net", "46", nil), second(n, conditions)}, {n.Network("net", "46", conditions), second(n, nil)}} {
		confDir(t, n, lists[0])
		eth0 := n.NewPod("web")
		net1 := eth0.On("net1")
		eth0.Serve(80, "web")
		n.MustAdd(eth0, lists[0], lab.TCP(8080, 80))
		n.MustAdd(net1, lists[1], lab.TCP(8080, 80))
		for i, p := range []*lab.Pod{eth0, net1} {
			if got, waiting := holder(t, n, 8080); got == "" || waiting != 1-i {
				t.Errorf("%q has the port and %d wait", got, waiting)
			}
			want(t, "from outside", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
			if err := n.Del(p, lists[i], lab.TCP(8080, 80)); err != nil {
				t.Fatal(err)
			}
		}
		if rules := n.Rules(); strings.Contains(rules, "portguard") {
			t.Errorf("rules are left:\n%s", rules)
		}
	}
}

// A process keeps a port of the node open, as runtimes do for a container: the test's own
// script, whose name is that of the runtime, or "sleep infinity" as nerdctl starts it.
func keepOpen(t *testing.T, n *lab.Node, port int, argv ...string) *exec.Cmd {
	t.Helper()
	var l net.Listener
	var err error
	n.Do(func() { l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port)) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if argv[0] != "sleep" {
		argv[0] = filepath.Join(t.TempDir(), argv[0])
		if err := os.WriteFile(argv[0], []byte("#!/bin/sh\nwhile :; do sleep 1000 3>&-; done\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.ExtraFiles, cmd.SysProcAttr = []*os.File{f}, &syscall.SysProcAttr{Setpgid: true}
	n.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	return cmd
}

// reserve keeps a port open for a container as nerdctl does.
func reserve(t *testing.T, n *lab.Node, p *lab.Pod, port int) {
	t.Helper()
	ns, id, _ := strings.Cut(p.ID, "-")
	dir := filepath.Join("/run/nerdctl", ns, id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(dir)) })
	pid := keepOpen(t, n, port, "sleep", "infinity").Process.Pid
	if err := os.WriteFile(filepath.Join(dir, "port-reserver.pid"), fmt.Append(nil, pid), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What a runtime keeps open for a container is not in the way of its mapping, whoever asks
// and whenever. For everybody else the port is taken.
func TestPortsKeptOpenByRuntimes(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	for i, tt := range []struct {
		name string
		keep func(p *lab.Pod, port int)
	}{
		{"podman", func(p *lab.Pod, port int) {
			keepOpen(t, n, port, "conmon", "--api-version", "1", "-c", p.ID, "-u", p.ID)
		}},
		{"nerdctl", func(p *lab.Pod, port int) { reserve(t, n, p, port) }},
		{"docker", func(_ *lab.Pod, port int) {
			keepOpen(t, n, port, "docker-proxy", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", fmt.Sprint(port), "-container-ip", "10.88.0.2", "-container-port", "80")
		}},
	} {
		list := n.Network("net-"+tt.name, "4", nil)
		confDir(t, n, list)
		port := 8080 + i
		web, held := n.NewPod(tt.name+"test"), fmt.Sprintf("0.0.0.0 %d/tcp", port)
		web.Serve(80, tt.name)
		tt.keep(web, port)
		if said := n.MustAdd(web, list, lab.TCP(port, 80)); said != "" {
			t.Errorf("%s: stderr of ADD: %q", tt.name, said)
		}
		want(t, "from outside", n.Client.Who("tcp4", fmt.Sprintf("%s:%d", lab.NodeV4, port)), tt.name)
		if out, err := n.Add(n.NewPod("stranger"), list, lab.TCP(port, 80)); err == nil || !strings.Contains(err.Error(), "pod default/"+tt.name+"test has hostPort") {
			t.Errorf("%s: ADD of another pod: %v\n%s", tt.name, err, out)
		}
		n.Run("nft", "delete table inet portguard")
		if out, err := cli(n, "restore"); err != nil || out != "restored pod default/"+tt.name+"test\n" {
			t.Errorf("%s: restore: %v %q", tt.name, err, out)
		}
		if err := n.Check(web, list, lab.TCP(port, 80)); err != nil {
			t.Errorf("%s: CHECK: %v", tt.name, err)
		}
		if e := listed(t, n)[held]; e.State != inventory.OK {
			t.Errorf("%s: list: %+v", tt.name, e)
		}
		if found, fit := diagnosis(t, n); !fit {
			t.Errorf("%s: doctor: %v", tt.name, found)
		}
		if ans := ask(t, n, fmt.Sprintf("%d/tcp", port)); ans.Decision.Code != 101 || len(ans.Decision.Refusals) != 1 || len(ans.Claimants) != 2 || ans.Claimants[1].Effect != "none" {
			t.Errorf("%s: explain: %+v", tt.name, ans)
		}
		if err := n.Del(web, list, lab.TCP(port, 80)); err != nil {
			t.Fatal(err)
		}
		if out, err := n.Add(n.NewPod("stranger"), list, lab.TCP(port, 80)); err == nil || !strings.Contains(err.Error(), "listens on 0.0.0.0") {
			t.Errorf("%s: ADD of another pod after DEL: %v\n%s", tt.name, err, out)
		}
		old := n.Network("old-"+tt.name, "4", lab.Conf{"type": "portmap"})
		n.MustAdd(web, old, lab.TCP(port, 80))
		if e := listed(t, n)[held]; e.By != "portmap" || tt.name != "docker" && e.State != inventory.OK {
			t.Errorf("%s: list with portmap: %+v", tt.name, e)
		}
		if err := n.Del(web, old, lab.TCP(port, 80)); err != nil {
			t.Fatal(err)
		}
	}
}

// nerdctl's hook holds the ports itself while it calls the plugins, before it has written
// down for whom.
func TestPortsOfTheCaller(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	p := n.NewPod("web")
	conf := direct(n, p, `[{"hostPort":8080,"containerPort":80}]`, "")
	for caller, refused := range map[string]bool{"nerdctl": false, "containerd": true} {
		hook := filepath.Join(t.TempDir(), caller)
		if err := os.WriteFile(hook, []byte("#!/bin/sh\nsleep 0.2 3>&-\n\"$@\" 3>&-\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		var l net.Listener
		var err error
		n.Do(func() { l, err = net.Listen("tcp4", ":8080") })
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		var out strings.Builder
		n.Do(func() {
			cmd := n.Command(hook, filepath.Join(n.Bin, "portguard"))
			cmd.Env = append(n.Env, "CNI_COMMAND=ADD", "CNI_CONTAINERID="+p.ID, "CNI_NETNS="+p.Path, "CNI_IFNAME=eth0", "CNI_PATH="+n.Bin)
			cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = strings.NewReader(conf), &out, []*os.File{f}
			if err = cmd.Start(); err == nil {
				f.Close() // now the hook alone has it
				err = cmd.Wait()
			}
		})
		if refused != (err != nil) {
			t.Errorf("called by %s: %v\n%s", caller, err, &out)
		}
		mustCall(t, n, "DEL", p, bare(n))
	}
}

// A DEL that is killed leaves the port with one of the two interfaces. The next DEL, or
// restore, finishes what it began.
func TestKilledBetweenInterfaces(t *testing.T) {
	for _, backend := range []string{"nftables", "iptables"} {
		n := newNode(t, backend, "nft")
		p := n.NewPod("web")
		link(n, p)
		p.Run("sh", "-ec", "ip addr add 10.88.0.77/32 dev eth0; ip link set eth0 up; ip route add default dev eth0; ip link add net1 type veth peer name net2; ip link set net1 up")
		confDir(t, n, n.Network("net", "4", nil))
		conf := direct(n, p, `[{"hostPort":8080,"containerPort":80}]`, "")
		second := strings.ReplaceAll(conf, `"eth0"`, `"net1"`)
		call := func(verb, ifName, conf string, wrap ...string) error {
			out, _, err := n.CallOn(ifName, verb, p, conf, wrap...)
			if err != nil && len(wrap) == 0 {
				t.Fatalf("%s %s: %v\n%s", verb, ifName, err, out)
			}
			return err
		}
		call("ADD", "eth0", conf)
		began := time.Now()
		call("DEL", "eth0", conf)
		took, before, killed := time.Since(began), n.Rules(), 0
		for i := range 10 {
			call("ADD", "eth0", conf)
			call("ADD", "net1", second)
			after := fmt.Sprintf("%.4f", took.Seconds()*rand.Float64())
			if call("DEL", "eth0", conf, "timeout", "-s", "KILL", after) != nil {
				killed++
			}
			if i%2 == 0 {
				if out, err := cli(n, "restore"); err != nil {
					t.Errorf("restore: %v\n%s", err, out)
				}
				call("DEL", "net1", second)
			} else {
				call("DEL", "eth0", conf)
				if got, waiting := holder(t, n, 8080); got != "net1" || waiting != 0 {
					t.Errorf("%s: after another DEL %q has the port and %d wait", backend, got, waiting)
				}
				call("CHECK", "net1", second)
				call("DEL", "net1", second)
			}
			call("DEL", "eth0", conf)
			unchanged(t, n, before)
			if files := n.StateFiles(); len(files) > 0 {
				t.Errorf("files left: %v", files)
			}
		}
		if killed == 0 {
			t.Errorf("%s: nothing was killed", backend)
		}
	}
}
