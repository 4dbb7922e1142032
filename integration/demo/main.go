// SPDX-License-Identifier: Apache-2.0

// Command demo shows portguard's main job on a node, a client and pods made of
// network namespaces, with the real cnitool, bridge and host-local.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "listen" {
		listen(os.Args[2])
		return
	}
	os.Exit(lab.Enclose(run))
}

// listen is the host's own server: the demo starts itself under another name.
func listen(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		if c, err := l.Accept(); err == nil {
			fmt.Fprintln(c, "nginx on the host")
			c.Close()
		}
	}
}

func run() (code int) {
	d := &demo{}
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintln(os.Stderr, "demo:", r)
			code = 1
		}
		d.clean()
	}()
	d.play()
	return d.code
}

func (d *demo) play() {
	say("Building portguard, cnitool, bridge and host-local")
	bin := d.TempDir()
	if err := lab.Build(bin); err != nil {
		d.Fatalf("%v", err)
	}
	d.node = lab.NewNode(d, bin, "nft")
	d.network()
	d.node.KubeProxy("10.88.0.200:80")
	d.nginx()
	say("A node (%s, %s) with kube-proxy's chains and nginx on port 80, a client (%s), and pods", lab.NodeV4, lab.NodeV6, lab.ClientV4)
	before := d.node.Rules()

	web := d.pod("web")
	say("1. A pod gets hostPort 8080")
	d.cni("add", web, 8080)
	d.ask("client, IPv4", d.node.Client, "tcp4", lab.NodeV4+":8080", "web "+lab.ClientV4)
	d.ask("client, IPv6", d.node.Client, "tcp6", "["+lab.NodeV6+"]:8080", "web "+lab.ClientV6)
	d.ask("the node itself", d.node.Netns, "tcp4", "127.0.0.1:8080", "web 10.88.0.1")
	fmt.Println("   (the second word is the address the pod sees)")

	say("2. Whoever already has a port keeps it: these three are refused, and nothing changes")
	held := d.node.Rules()
	for _, port := range []int{80, 30080, 8080} {
		d.refused(port)
	}
	d.same("rules after the refusals", held)
	d.ask("nginx still answers", d.node.Client, "tcp4", lab.NodeV4+":80", "nginx on the host")

	say("3. No socket shows a hostPort, so ask")
	d.command("list")
	d.command("explain", "30080/tcp")

	say("4. DEL removes exactly what ADD made")
	d.cni("del", web, 8080)
	d.ask("client, IPv4", d.node.Client, "tcp4", lab.NodeV4+":8080", "")
	d.same("rules of the whole node", before)
}

// command runs portguard as a person does.
func (d *demo) command(args ...string) {
	fmt.Printf("   $ portguard %s\n", strings.Join(args, " "))
	out, _ := d.node.Try("", append([]string{filepath.Join(d.node.Bin, "portguard"), args[0], "--conf-dir", d.node.Dir}, args[1:]...)...)
	for line := range strings.Lines(out) {
		fmt.Print("     " + line)
	}
}

// network writes the conflist that cnitool reads.
func (d *demo) network() {
	conf := filepath.Join(d.node.Dir, "10-demo.conflist")
	if err := os.WriteFile(conf, []byte(d.node.Network("demo", "46", nil)), 0o600); err != nil {
		d.Fatalf("%v", err)
	}
}

// nginx starts a process of that name which listens on the node.
func (d *demo) nginx() {
	self, err := os.Executable()
	if err != nil {
		d.Fatalf("%v", err)
	}
	b, err := os.ReadFile(self)
	path := filepath.Join(d.node.Dir, "nginx")
	if err == nil {
		err = os.WriteFile(path, b, 0o700)
	}
	var cmd *exec.Cmd
	if err == nil {
		d.node.Do(func() {
			cmd = exec.Command(path, "listen", "0.0.0.0:80")
			err = cmd.Start()
		})
	}
	if err != nil {
		d.Fatalf("nginx: %v", err)
	}
	d.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 50 {
		if d.node.Who("tcp4", lab.NodeV4+":80") != "" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	d.Fatalf("nginx did not start")
}

func (d *demo) pod(name string) *lab.Pod {
	p := d.node.NewPod(name)
	p.Serve(80, name)
	return p
}

// cnitool runs the real tool for a pod.
func (d *demo) cnitool(verb string, p *lab.Pod, port int) (string, error) {
	ports := fmt.Sprintf(`{"portMappings":[{"hostPort":%d,"containerPort":80,"protocol":"tcp"}]}`, port)
	fmt.Printf("   $ CAP_ARGS='%s' cnitool %s demo %s\n", ports, verb, p.Path)
	return d.node.Try("", "env", "NETCONFPATH="+d.node.Dir, "CNI_PATH="+d.node.Bin, "CNI_ARGS="+p.Args,
		"CAP_ARGS="+ports, filepath.Join(d.node.Bin, "cnitool"), verb, "demo", p.Path)
}

func (d *demo) cni(verb string, p *lab.Pod, port int) {
	if out, err := d.cnitool(verb, p, port); err != nil {
		d.Fatalf("cnitool %s: %v\n%s", verb, err, out)
	}
}

func (d *demo) refused(port int) {
	p := d.pod("other")
	out, err := d.cnitool("add", p, port)
	if err == nil {
		d.Fatalf("hostPort %d was not refused", port)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	fmt.Printf("     %s\n", lines[len(lines)-1])
	_, _ = d.cnitool("del", p, port)
}

// ask shows who answers and insists that it is the right one.
func (d *demo) ask(who string, from *lab.Netns, network, addr, want string) {
	got := from.Get(network, addr)
	if got != want {
		d.Fatalf("%s -> %s: got %q, want %q", who, addr, got, want)
	}
	if got == "" {
		got = "(nobody)"
	}
	fmt.Printf("   %-20s -> %-22s %s\n", who, addr, got)
}

func (d *demo) same(what, before string) {
	if now := d.node.Rules(); now != before {
		d.Fatalf("%s differ:\n%s\n---\n%s", what, before, now)
	}
	fmt.Printf("   %s: as before, line for line\n", what)
}

func say(format string, args ...any) { fmt.Printf("\n"+format+"\n", args...) }
