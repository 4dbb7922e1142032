// SPDX-License-Identifier: Apache-2.0

// Package node is a Kubernetes cluster of one node, made of the real programs. The
// control plane and the clients of the tests are where the caller is, in the world that
// world.sh makes; the node is a machine made of namespaces in that world, which can lose
// its power and come back.
package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
)

// Addresses of the cluster. The control plane has those of the client.
const (
	Name     = "node1"
	V4       = "192.0.2.1"
	V6       = "2001:db8:2::1"
	ClientV4 = "192.0.2.2"
	ClientV6 = "2001:db8:2::2"
)

// scratch is the tmpfs of the world.
const scratch = "/mnt"

// A Config says which programs the node is made of.
type Config struct {
	// Bin is the folder that build.sh filled.
	Bin string
	// Logs is where the programs write.
	Logs string
	// Proxy is kube-proxy's mode, "iptables" or "nftables".
	Proxy string
	// Iptables is the flavour of the iptables on the node, "nft" or "legacy".
	Iptables string
	// Containerd is "1" for the Debian package, "2" for the one that build.sh built.
	Containerd string
	// Plugin has the hostPorts: "portguard", "portmap", or "" for none.
	Plugin string
	// Options are more keys of portguard in the conflist, as JSON: `,"reserve":"off"`.
	Options string
}

// A Node is a cluster that runs.
type Node struct {
	Config
	kubernetes.Interface

	machine *exec.Cmd // unshare, whose death is that of the machine
	pid     int       // the machine's first process
	procs   map[string]*process
}

// Modes are the ways in which a node is tried, by name: kube-proxy's mode, and for
// iptables the flavour.
var Modes = map[string]Config{
	"iptables-nft":    {Proxy: "iptables", Iptables: "nft"},
	"iptables-legacy": {Proxy: "iptables", Iptables: "legacy"},
	"nftables":        {Proxy: "nftables", Iptables: "nft"},
}

// Up starts a cluster and returns when its node is Ready.
func Up(ctx context.Context, c Config) (*Node, error) {
	if host, _ := os.Hostname(); host != "world" {
		return nil, fmt.Errorf("a node needs a world of its own: start this with world.sh")
	}
	n := &Node{Config: c, procs: map[string]*process{}}
	if err := os.MkdirAll(c.Logs, 0o755); err != nil {
		return nil, err
	}
	steps := []func(context.Context) error{n.startControlPlane, n.Boot, n.startServices}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Exec runs a command on the node and returns what it writes, on stdout and stderr.
func (n *Node) Exec(args ...string) (string, error) {
	out, err := n.Command(args...).CombinedOutput()
	return string(out), err
}

// Command prepares a command that runs on the node.
func (n *Node) Command(args ...string) *exec.Cmd {
	enter := []string{"--target", fmt.Sprint(n.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"}
	cmd := exec.Command("nsenter", append(enter, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+n.path())
	return cmd
}

// path is the PATH of the node: what build.sh built comes first.
func (n *Node) path() string {
	path := []string{n.Bin, "/opt/cni/bin", os.Getenv("PATH")}
	if n.Containerd == "2" {
		path = append([]string{filepath.Join(filepath.Dir(n.Bin), "containerd")}, path...)
	}
	return strings.Join(path, ":")
}

// Until asks every now and then until what was asked is so, and less often the longer it takes:
// to answer takes time from what is waited for. A limit is for what hangs.
func Until(ctx context.Context, what string, is func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for pause := 50 * time.Millisecond; !is(); pause = min(pause+pause/10, 500*time.Millisecond) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not so in five minutes: %w", what, ctx.Err())
		case <-time.After(pause):
		}
	}
	return nil
}

func run(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
