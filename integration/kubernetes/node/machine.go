// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed boot.sh
var boot string

// disk is what of the node outlives a loss of power.
const disk = scratch + "/disk"

// Boot starts the machine, without its services, and plugs it in.
func (n *Node) Boot(ctx context.Context) error {
	if err := os.MkdirAll(disk, 0o755); err != nil {
		return err
	}
	n.machine = exec.Command("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", boot, "boot.sh", disk, n.Iptables)
	log, err := os.Create(filepath.Join(n.Logs, "boot.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	n.machine.Stdout, n.machine.Stderr = log, log
	if err := n.machine.Start(); err != nil {
		return err
	}
	if err := Until(ctx, "the machine boots", func() bool {
		n.pid = child(n.machine.Process.Pid)
		return n.pid != 0 && n.booted() || !alive(n.machine.Process.Pid)
	}); err != nil || !n.booted() {
		return fmt.Errorf("the machine does not boot: %w\n%s", err, tail(log.Name()))
	}
	return n.plugIn()
}

func (n *Node) booted() bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/root/run/booted", n.pid))
	return err == nil
}

// plugIn connects the machine with the world.
func (n *Node) plugIn() error {
	_ = run("ip", "link", "del", "node1") // that of a machine which lost its power goes a moment later
	world := [][]string{
		{"ip", "link", "add", "node1", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(n.pid)},
		{"ip", "addr", "add", ClientV4 + "/24", "dev", "node1"},
		{"ip", "addr", "add", ClientV6 + "/64", "dev", "node1", "nodad"},
		{"ip", "link", "set", "node1", "up"},
	}
	machine := [][]string{
		{"ip", "addr", "add", V4 + "/24", "dev", "eth0"},
		{"ip", "addr", "add", V6 + "/64", "dev", "eth0", "nodad"},
		{"ip", "link", "set", "eth0", "up"},
		{"ip", "route", "add", "default", "via", ClientV4},
		{"ip", "route", "add", "default", "via", ClientV6},
	}
	for _, args := range world {
		if err := run(args...); err != nil {
			return err
		}
	}
	for _, args := range machine {
		if out, err := n.Exec(args...); err != nil {
			return fmt.Errorf("on the node: %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// PowerOff takes the power from the machine: nothing on it is told. Its disk stays.
func (n *Node) PowerOff() {
	first := n.pid
	_ = n.machine.Process.Kill()
	_ = n.machine.Wait()
	for alive(first) { // the kernel ends all others before it
		time.Sleep(10 * time.Millisecond)
	}
	for name, p := range n.procs {
		if p.onNode {
			p.wait()
			delete(n.procs, name)
		}
	}
}

// Wipe takes folders off the disk of a machine that is off.
func (n *Node) Wipe(folders ...string) error {
	for _, f := range folders {
		if err := os.RemoveAll(filepath.Join(disk, f)); err != nil {
			return err
		}
	}
	return nil
}

// File is the path by which the caller reaches a file of the node.
func (n *Node) File(path string) string { return fmt.Sprintf("/proc/%d/root%s", n.pid, path) }

// NetNS is the path of the node's network namespace.
func (n *Node) NetNS() string { return fmt.Sprintf("/proc/%d/ns/net", n.pid) }

// child returns the first child of a process, 0 if there is none.
func child(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	first, _, _ := strings.Cut(string(b), " ")
	c, _ := strconv.Atoi(first)
	return c
}
