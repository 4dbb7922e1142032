// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Addresses of the lab.
const (
	NodeV4   = "192.0.2.1"
	NodeV6   = "2001:db8:2::1"
	ClientV4 = "192.0.2.2"
	ClientV6 = "2001:db8:2::2"
	PodNetV4 = "10.88.0.0/16"
	PodNetV6 = "fd00:88::/64"
)

// A Node is a namespace that plays the host, with a client beside it.
type Node struct {
	*Netns
	Client *Netns
	// Bin holds portguard and the plugins.
	Bin string
	// Dir is for state, caches and address pools.
	Dir string
	// Flavour is what plain iptables is on this node.
	Flavour string
	// Backend is that of the configurations of portguard, "" for its default.
	Backend string
}

// Native reports whether portguard's rules are in nftables.
func (n *Node) Native() bool { return n.Backend == "nftables" }

// NewNode makes a node whose plain iptables is of the flavour ("nft" or
// "legacy"), and a client on a link to it.
func NewNode(t T, bin, flavour string) *Node {
	t.Helper()
	return NewNodeIn(t, NewNetns(t, "node"), bin, flavour)
}

// NewNodeIn makes a node of a namespace in which there is nothing yet.
func NewNodeIn(t T, ns *Netns, bin, flavour string) *Node {
	t.Helper()
	if bin != "" && !Enclosed() {
		t.Fatalf("a node needs a cgroup of its own: run the program by lab.Main or lab.Enclose")
	}
	if err := strayed(); bin != "" && err != nil {
		t.Fatalf("%v", err)
	}
	n := &Node{Netns: ns, Client: NewNetns(t, "client"), Bin: bin, Dir: t.TempDir(), Flavour: flavour}
	n.Env = append(os.Environ(), "PATH="+n.flavourPath()+":"+os.Getenv("PATH"))
	n.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", n.Client.Name)
	for _, s := range []struct {
		ns     *Netns
		v4, v6 string
	}{{n.Netns, NodeV4, NodeV6}, {n.Client, ClientV4, ClientV6}} {
		s.ns.Run("ip", "addr", "add", s.v4+"/24", "dev", "eth0")
		s.ns.Run("ip", "addr", "add", s.v6+"/64", "dev", "eth0", "nodad")
		s.ns.Run("ip", "link", "set", "eth0", "up")
	}
	n.Client.Run("ip", "route", "add", "default", "via", NodeV4)
	n.Client.Run("ip", "route", "add", "default", "via", NodeV6)
	n.Sysctl("net/ipv4/ip_forward", "1")
	n.Sysctl("net/ipv6/conf/all/forwarding", "1")
	return n
}

// flavourPath makes a directory in which iptables is of the node's flavour.
func (n *Node) flavourPath() string {
	dir := filepath.Join(n.Dir, "path")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.T.Fatalf("%v", err)
	}
	for _, cmd := range []string{"iptables", "ip6tables"} {
		for _, verb := range []string{"", "-save", "-restore"} {
			if err := os.Symlink("/usr/sbin/"+cmd+"-"+n.Flavour+verb, filepath.Join(dir, cmd+verb)); err != nil {
				n.T.Fatalf("%v", err)
			}
		}
	}
	return dir
}

// Shadow puts a script before the command of that name on the node's PATH.
func (n *Node) Shadow(command, script string) {
	n.T.Helper()
	path := filepath.Join(n.Dir, "path", command)
	_ = os.Remove(path)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		n.T.Fatalf("%v", err)
	}
}

// Unshadow takes the script away.
func (n *Node) Unshadow(command string) { _ = os.Remove(filepath.Join(n.Dir, "path", command)) }

// Iptables runs the node's iptables, with "6" as family for ip6tables.
func (n *Node) Iptables(family, line string) {
	n.T.Helper()
	n.Run(append([]string{"ip" + family + "tables", "-w"}, strings.Fields(line)...)...)
}

// Rules returns all iptables rules of both flavours and families and all tables
// of nftables, without counters and without tables of iptables that hold nothing:
// those a tool leaves behind. What is held against binds is a part of it.
func (n *Node) Rules() string {
	n.T.Helper()
	var all strings.Builder
	for _, v := range []string{"", "6"} {
		for _, fl := range []string{"nft", "legacy"} {
			if fl == "legacy" && n.noLegacy(v) {
				continue
			}
			if rules := normalise(n.Run("ip" + v + "tables-" + fl + "-save")); rules != "" {
				fmt.Fprintf(&all, "== ip%stables-%s\n%s\n", v, fl, rules)
			}
		}
	}
	for line := range strings.Lines(n.Run("nft", "list", "tables")) {
		if table := strings.TrimPrefix(strings.TrimSpace(line), "table "); !ofIptables(table) {
			all.WriteString(n.Run("sh", "-c", "nft -s list table "+table))
		}
	}
	if held := n.Held(); held != "" {
		fmt.Fprintf(&all, "== held against binds\n%s\n", held)
	}
	return all.String()
}

// ofIptables reports whether iptables-nft shows a table.
func ofIptables(table string) bool {
	return regexp.MustCompile(`^ip6? (nat|filter|mangle|raw|security)$`).MatchString(table)
}

// Mapped counts portguard's translations to an address (or a part of it).
func (n *Node) Mapped(to string) int {
	n.T.Helper()
	found := 0
	set := ""
	for line := range strings.Lines(n.Rules()) {
		if f := strings.Fields(line); len(f) > 1 && (f[0] == "map" || f[0] == "set" || f[0] == "chain") {
			set = f[1]
		}
		if strings.Contains(line, "portguard") && (strings.Contains(line, "--to-destination "+to) || set != "localhost" && strings.Contains(line, ` : `+to)) {
			found++
		}
	}
	return found
}

func (n *Node) noLegacy(v string) bool {
	var b []byte
	n.Do(func() { b, _ = os.ReadFile("/proc/thread-self/net/ip" + v + "_tables_names") })
	return len(b) == 0
}

func normalise(dump string) string {
	counters := regexp.MustCompile(`\[\d+:\d+\]`)
	var out, table []string
	holds := false
	for line := range strings.Lines(dump) {
		line = strings.TrimSpace(counters.ReplaceAllString(line, ""))
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '*':
			table, holds = []string{line}, false
		case line == "COMMIT":
			if holds {
				out = append(out, table...)
			}
		default:
			holds = holds || line[0] == '-' || strings.HasSuffix(line, " -")
			table = append(table, line)
		}
	}
	return strings.Join(out, "\n")
}

// Mount puts a small file system of its own on a directory, until the test ends.
func (n *Node) Mount(dir, options string) {
	n.T.Helper()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "portguard-test", dir).CombinedOutput(); err != nil {
		n.T.Fatalf("mount: %v: %s", err, out)
	}
	n.T.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
}

// Remount makes it read-only, or not.
func (n *Node) Remount(dir string, readOnly bool) {
	n.T.Helper()
	mode := map[bool]string{true: "ro", false: "rw"}[readOnly]
	if out, err := exec.Command("mount", "-o", "remount,"+mode, dir).CombinedOutput(); err != nil {
		n.T.Fatalf("remount: %v: %s", err, out)
	}
}
