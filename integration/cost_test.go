// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// trace runs the plugin under strace and returns the system calls of it and its
// children.
func trace(t *testing.T, n *lab.Node, verb string, p *lab.Pod, conf string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "strace")
	out, errs, err := n.Call(verb, p, conf, "strace", "-f", "-qq", "-o", file, "-e", "trace=execve,clone,clone3,fork,vfork,flock,socket")
	if err != nil {
		t.Fatalf("%s: %v %s %s", verb, err, out, errs)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// forks counts the processes that were started: clones that are no threads.
func forks(calls string) int {
	started := regexp.MustCompile(`(?m)^\d+ +(clone3?|v?fork)\(.*`).FindAllString(calls, -1)
	n := 0
	for _, s := range started {
		if !strings.Contains(s, "CLONE_THREAD") {
			n++
		}
	}
	return n
}

// A pod without hostPorts costs no process, no lock and no netlink socket.
func TestNoPortsCostNothing(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	pod, other := n.NewPod("plain"), n.NewPod("other")
	check := func(when string) {
		t.Helper()
		for _, verb := range []string{"ADD", "CHECK", "DEL"} {
			calls := trace(t, n, verb, pod, direct(n, pod, "[]", ""))
			if forks(calls) > 0 || strings.Contains(calls, "flock(") || strings.Contains(calls, "AF_NETLINK") {
				t.Errorf("%s %s does more than nothing:\n%s", verb, when, calls)
			}
		}
	}
	check("on a fresh node")
	if out, _, err := n.Call("ADD", other, direct(n, other, mapping, "")); err != nil {
		t.Fatal(out)
	}
	check("beside a pod with hostPorts")
}

// A dual-stack ADD and a DEL start at most six processes, also with rules in both
// flavours: two that print, three that change (the guard first), and os/exec's own look
// at what the kernel can.
func TestForks(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		for _, fl := range []string{"nft", "legacy"} {
			for _, v := range []string{"", "6"} {
				n.Run("ip"+v+"tables-"+fl, "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "1", "-j", "RETURN")
			}
		}
		pod := n.NewPod("web")
		link(n, pod)
		if f := forks(trace(t, n, "ADD", pod, direct(n, pod, mapping, ""))); f == 0 || f > 6 {
			t.Errorf("ADD starts %d processes, want 1 to 6", f)
		}
		if f := forks(trace(t, n, "DEL", pod, direct(n, pod, mapping, ""))); f == 0 || f > 6 {
			t.Errorf("DEL starts %d processes, want 1 to 6", f)
		}
	})
}

// netlinkBytes adds up what came in over netlink.
func netlinkBytes(calls string) int {
	sum := 0
	for _, m := range regexp.MustCompile(`NETLINK, .*= (\d+)`).FindAllStringSubmatch(calls, -1) {
		k, _ := strconv.Atoi(m[1])
		sum += k
	}
	return sum
}

// Established connections are not even looked at: a thousand of them on the
// very port add nothing to what the kernel sends.
func TestEstablishedSocketsCostNothing(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	pod := n.NewPod("web")
	conf := direct(n, pod, `[{"hostPort":7000,"containerPort":80}]`, "")
	received := func() int {
		t.Helper()
		file := filepath.Join(t.TempDir(), "strace")
		if out, _, err := n.Call("ADD", pod, conf, "strace", "-f", "-qq", "-o", file, "-e", "trace=socket,recvfrom,recvmsg"); err != nil {
			t.Fatalf("ADD: %v %s", err, out)
		}
		b, _ := os.ReadFile(file)
		if !strings.Contains(string(b), "NETLINK_SOCK_DIAG") {
			t.Fatal("sock_diag was not asked")
		}
		return netlinkBytes(string(b))
	}
	received() // makes the tables, which iptables reads from then on
	before := received()
	l := n.ServeTCP("tcp4", "127.0.0.1:7000", "host")
	for range 1000 {
		n.Open("tcp4", "127.0.0.1:7000")
	}
	l.Close()
	if after := received(); after > before+500 {
		t.Errorf("netlink answers grew from %d to %d bytes", before, after)
	}
}

// Without records a claim of somebody else's port is not looked into: only for a
// port that is asked for are the processes asked whose namespace lives.
func TestOtherClaimsCostNothing(t *testing.T) {
	for _, backend := range []string{"iptables", "nftables"} {
		n := newNode(t, backend, "nft")
		one, two := n.NewPod("one"), n.NewPod("two")
		mustCall(t, n, "ADD", one, direct(n, one, mapping, ""))
		n.WipeState()
		one.Delete() // with its namespace there no process need be asked
		for _, ports := range []string{`[{"hostPort":9090,"containerPort":80}]`, mapping} {
			file := filepath.Join(t.TempDir(), "strace")
			_, _, _ = n.Call("ADD", two, direct(n, two, ports, ""), "strace", "-f", "-qq", "-o", file, "-e", "trace=readlink,readlinkat")
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(b), "/ns/net"); got != (ports == mapping) {
				t.Errorf("%s: ADD of %s looks for the owner's namespace: %v", backend, ports, got)
			}
		}
	}
}
