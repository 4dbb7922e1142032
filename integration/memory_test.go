// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/nft"
)

// port is a request for one hostPort.
func port(n int) string { return fmt.Sprintf(`[{"hostPort":%d,"containerPort":80}]`, n) }

// remembering makes a node with rules, on which ADDs remember what they read: a
// first pod makes the table, and another one was added and deleted.
func remembering(t *testing.T) (n *lab.Node, pod, first *lab.Pod) {
	t.Helper()
	n = newNode(t, "nftables", "nft")
	n.KubeProxy("10.88.0.200:80")
	first, pod = n.NewPod("first"), n.NewPod("web")
	mustCall(t, n, "ADD", first, direct(n, first, port(9999), ""))
	for range 2 {
		mustCall(t, n, "ADD", pod, direct(n, pod, port(8080), ""))
		mustCall(t, n, "DEL", pod, direct(n, pod, port(8080), ""))
	}
	return n, pod, first
}

// heard is how many bytes the kernel tells of its rules to an ADD.
func heard(t *testing.T, n *lab.Node, p *lab.Pod) int {
	t.Helper()
	file := filepath.Join(t.TempDir(), "strace")
	if out, _, err := n.Call("ADD", p, direct(n, p, port(8080), ""), "strace", "-f", "-qq", "-o", file, "-e", "trace=recvfrom"); err != nil {
		t.Fatalf("ADD: %v %s", err, out)
	}
	mustCall(t, n, "DEL", p, direct(n, p, port(8080), ""))
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return netlinkBytes(string(b))
}

// What no transaction has changed is not read again, by an ADD behind others and
// behind DELs; after one it is.
func TestMemorySavesReading(t *testing.T) {
	n, pod, _ := remembering(t)
	known := heard(t, n, pod)
	if again := heard(t, n, pod); again > known+100 {
		t.Errorf("the kernel tells %d bytes, then %d", known, again)
	}
	n.Feed("add table ip other", "nft", "-f", "-")
	changed := heard(t, n, pod)
	if changed < known+10_000 {
		t.Errorf("after a transaction the kernel tells %d bytes, and %d without one", changed, known)
	}
	if again := heard(t, n, pod); again > known+100 {
		t.Errorf("after the ADD behind the transaction it tells %d bytes, not %d", again, known)
	}
}

// Whatever changes behind an ADD, the next one decides by what is there.
func TestMemoryIsOfOneGeneration(t *testing.T) {
	const dnat = "add table ip foo\nadd chain ip foo pre { type nat hook prerouting priority dstnat; }\nadd rule ip foo pre "
	for name, c := range map[string]struct {
		before, change func(n *lab.Node)
		want           string
	}{
		"a rule of nftables": {change: func(n *lab.Node) {
			n.Feed(dnat+"tcp dport 8080 dnat to 10.9.9.9", "nft", "-f", "-")
		}, want: "10.9.9.9"},
		"a rule of iptables": {change: func(n *lab.Node) {
			n.Run("iptables-nft", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "8080", "-j", "DNAT", "--to-destination", "10.9.9.8")
		}, want: "10.9.9.8"},
		"a rule of iptables-legacy": {change: func(n *lab.Node) {
			n.Run("iptables-legacy", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "8080", "-j", "DNAT", "--to-destination", "10.9.9.7")
		}, want: "10.9.9.7"},
		"a NodePort": {change: func(n *lab.Node) {
			n.Run("iptables-nft", "-t", "nat", "-A", "KUBE-NODEPORTS", "-p", "tcp", "--dport", "8080", "-j", "DNAT", "--to-destination", "10.9.9.6")
		}, want: "8080/tcp is taken: it is a NodePort"},
		"an element of a map": {
			before: func(n *lab.Node) {
				n.Feed("add table ip foo\nadd map ip foo m { type inet_service : ipv4_addr; }\n"+dnat+"dnat to tcp dport map @m", "nft", "-f", "-")
			},
			change: func(n *lab.Node) { n.Feed("add element ip foo m { 8080 : 10.9.9.5 }", "nft", "-f", "-") },
			want:   "10.9.9.5",
		},
		"an address that a rule is for": {
			before: func(n *lab.Node) {
				n.Run("iptables-nft", "-t", "nat", "-A", "PREROUTING", "-d", "10.7.7.7", "-p", "tcp", "--dport", "8080", "-j", "DNAT", "--to-destination", "10.9.9.4")
			},
			change: func(n *lab.Node) { n.Run("ip", "addr", "add", "10.7.7.7/32", "dev", "lo") },
			want:   "10.9.9.4",
		},
		"a listener": {change: func(n *lab.Node) { n.ServeTCP("tcp4", "0.0.0.0:8080", "host") }, want: "listens"},
	} {
		t.Run(name, func(t *testing.T) {
			n, pod, _ := remembering(t)
			if c.before != nil {
				c.before(n)
				mustCall(t, n, "ADD", pod, direct(n, pod, port(8081), ""))
				mustCall(t, n, "DEL", pod, direct(n, pod, port(8081), ""))
			}
			c.change(n)
			for range 2 { // a refusal is not forgotten either
				if out, _, err := n.Call("ADD", pod, direct(n, pod, port(8080), "")); err == nil || !strings.Contains(out, c.want) {
					t.Errorf("ADD: %v %s", err, out)
				}
			}
		})
	}
}

// A rule that comes while an ADD or a DEL runs is seen by the next ADD, whenever it
// came: also between the last look at the generation and the transaction, where a
// new socket is set up.
func TestRuleDuringAdd(t *testing.T) {
	n, pod, _ := remembering(t)
	other := n.NewPod("other")
	slow := []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=setsockopt", "-e", "inject=setsockopt:delay_enter=100000"}
	for i := range 20 {
		verb := []string{"ADD", "DEL"}[i%2]
		done := make(chan bool)
		go func() {
			defer close(done)
			time.Sleep(50*time.Millisecond + time.Duration(i/2)*40*time.Millisecond)
			_, _ = n.Try("add table ip foo\nadd chain ip foo pre { type nat hook prerouting priority dstnat; }\nadd rule ip foo pre tcp dport 7070 dnat to 10.9.9.9", "nft", "-f", "-")
		}()
		if out, _, err := n.Call(verb, pod, direct(n, pod, port(8080), ""), slow...); err != nil {
			t.Errorf("%s: %s", verb, out)
		}
		<-done
		if out, _, err := n.Call("ADD", other, direct(n, other, port(7070), "")); err == nil || !strings.Contains(out, "10.9.9.9") {
			t.Errorf("ADD after a %s: %v %s", verb, err, out)
		}
		n.Feed("delete table ip foo", "nft", "-f", "-")
		mustCall(t, n, "ADD", other, direct(n, other, port(7070), "")) // remembers that there is none
		mustCall(t, n, "DEL", other, direct(n, other, port(7070), ""))
	}
}

// Our own table is made again if it went, whoever removed it.
func TestMemoryOfOurTable(t *testing.T) {
	for name, change := range map[string]func(n *lab.Node, first *lab.Pod){
		"the table":       func(n *lab.Node, _ *lab.Pod) { n.Feed("delete table inet portguard", "nft", "-f", "-") },
		"rules":           func(n *lab.Node, _ *lab.Pod) { n.Feed("flush chain inet portguard hostports4", "nft", "-f", "-") },
		"by the last DEL": func(n *lab.Node, first *lab.Pod) { mustCall(t, n, "DEL", first, direct(n, first, port(9999), "")) },
		"by a DEL, and conditions": func(n *lab.Node, first *lab.Pod) {
			mustCall(t, n, "DEL", first, direct(n, first, port(9999), ""))
			mustCall(t, n, "ADD", first, direct(n, first, port(9999), `,"conditionsV4":["ip saddr 10.0.0.0/8"]`))
		},
	} {
		n, pod, first := remembering(t)
		change(n, first)
		for range 2 {
			mustCall(t, n, "ADD", pod, direct(n, pod, port(8080), ""))
			if out, _, err := n.Call("CHECK", pod, direct(n, pod, port(8080), "")); err != nil {
				t.Errorf("%s: %s", name, out)
			}
			mustCall(t, n, "DEL", pod, direct(n, pod, port(8080), ""))
		}
	}
}

// New links of pods, with link-local addresses of their own, do not make the memory
// useless.
func TestMemoryBesideNewPods(t *testing.T) {
	n, pod, _ := remembering(t)
	known := heard(t, n, pod)
	ns := lab.NewNetns(t, "pod")
	n.Run("ip", "link", "add", "veth7", "type", "veth", "peer", "name", "eth0", "netns", ns.Name)
	n.Run("ip", "link", "set", "veth7", "up")
	ns.Run("ip", "link", "set", "eth0", "up")
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(n.Run("ip", "-6", "addr", "show", "dev", "veth7"), "fe80:") {
		if time.Now().After(deadline) {
			t.Fatal("the link gets no address")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if again := heard(t, n, pod); again > known+5_000 {
		t.Errorf("the kernel tells %d bytes, and %d with one link more", known, again)
	}
}

// What is remembered takes no room from records, however much there is.
func TestMemoryOnAFullDisk(t *testing.T) {
	n, pod, first := remembering(t)
	var rules strings.Builder
	for i := range 20 {
		fmt.Fprintf(&rules, "add rule ip foo pre tcp dport %d dnat to 10.9.9.9\n", 20000+i)
	}
	n.Feed("add table ip foo\nadd chain ip foo pre { type nat hook prerouting priority dstnat; }\n"+rules.String(), "nft", "-f", "-")
	seen := filepath.Join(n.Dir, "state", "seen")
	kept := 0
	for size := 16; size <= 64; size += 4 {
		mustCall(t, n, "DEL", first, direct(n, first, port(9999), ""))
		n.Mount(filepath.Join(n.Dir, "state"), fmt.Sprintf("size=%dk", size))
		mustCall(t, n, "ADD", first, direct(n, first, port(9999), ""))
		mustCall(t, n, "ADD", pod, direct(n, pod, port(8080), ""))
		if _, err := os.Stat(seen); err == nil {
			kept++
		}
		mustCall(t, n, "DEL", pod, direct(n, pod, port(8080), ""))
	}
	if kept == 0 || kept == 13 {
		t.Errorf("of 13 file systems %d have room for the memory", kept)
	}
}

// Another network namespace with the same state directory and generation has other
// rules; and a memory that is damaged is none.
func TestForeignMemory(t *testing.T) {
	n, pod, _ := remembering(t)
	there := newNode(t, "nftables", "nft")
	for _, node := range []*lab.Node{n, there} { // without link-local addresses they have the same ones
		node.Sysctl("net/ipv6/conf/all/disable_ipv6", "1")
	}
	for range 2 {
		mustCall(t, n, "ADD", pod, direct(n, pod, port(8080), ""))
		mustCall(t, n, "DEL", pod, direct(n, pod, port(8080), ""))
	}
	there.Feed("table ip foo { chain pre { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 10.9.9.9; }; }", "nft", "-f", "-")
	if generation(t, there) > generation(t, n) {
		t.Fatal("the new node has seen more transactions than the old one")
	}
	for i := generation(t, there); i < generation(t, n); i++ {
		there.Feed(fmt.Sprintf("add table ip t%d", i), "nft", "-f", "-")
	}
	if generation(t, there) != generation(t, n) {
		t.Fatal("a transaction is not one generation")
	}
	if out, _, err := there.Call("ADD", pod, direct(n, pod, port(8080), "")); err == nil || !strings.Contains(out, "10.9.9.9") {
		t.Errorf("ADD in another namespace: %v %s", err, out)
	}
	mustCall(t, n, "ADD", pod, direct(n, pod, port(8080), ""))
	mustCall(t, n, "DEL", pod, direct(n, pod, port(8080), ""))
	file := filepath.Join(n.Dir, "state", "seen")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{0, 8, 40, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(file, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		mustCall(t, n, "ADD", pod, direct(n, pod, port(8080), ""))
		mustCall(t, n, "DEL", pod, direct(n, pod, port(8080), ""))
	}
	if err := exec.Command("rm", file).Run(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	mustCall(t, n, "ADD", pod, direct(n, pod, port(8080), ""))
}

func generation(t *testing.T, n *lab.Node) (number uint32) {
	t.Helper()
	var err error
	n.Do(func() { number, err = nft.NewReader().Generation() })
	if err != nil {
		t.Fatal(err)
	}
	return number
}
