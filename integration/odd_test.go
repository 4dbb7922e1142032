// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// Whatever stands in the place of a file of ours costs its own pod at most: DEL of every pod
// works, ADD of the others does, and nothing outside is touched.
func TestOddState(t *testing.T) {
	t.Parallel()
	n := newNode(t, "nftables", "nft")
	damaged, other, third := n.NewPod("damaged"), n.NewPod("other"), n.NewPod("third")
	conf := func(p *lab.Pod, k int) string { return direct(n, p, port(k), `,"localhost":false`) }
	outside := filepath.Join(n.Dir, "outside")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for _, odd := range []string{"mkdir -p FILE/x/y", "mkfifo FILE", "ln -s " + outside + " FILE", "mknod FILE c 1 5", "truncate -s 8T FILE"} {
		for _, file := range []string{"state/RECORD", "state/.tmp-KEY", "state/lock", "state/complete", "state/counters", "state/.tmp-counters", "state.used"} {
			mustCall(t, n, "ADD", damaged, conf(damaged, 8080))
			mustCall(t, n, "ADD", other, conf(other, 8081))
			var record string
			for _, f := range n.StateFiles() {
				if b, _ := os.ReadFile(f); strings.Contains(string(b), damaged.ID) {
					record = filepath.Base(f)
				}
			}
			path := strings.NewReplacer("RECORD", record, "KEY", strings.TrimSuffix(record, ".json")).Replace(filepath.Join(n.Dir, file))
			n.Run("sh", "-c", "rm -rf "+path+"; "+strings.ReplaceAll(odd, "FILE", path))
			for _, call := range []struct {
				verb string
				pod  *lab.Pod
				conf string
			}{
				{"ADD", third, conf(third, 8082)}, {"DEL", other, bare(n)}, {"ADD", other, conf(other, 8081)}, {"DEL", third, bare(n)}, {"DEL", other, conf(other, 8081)}, {"DEL", damaged, bare(n)},
			} {
				if out, errs, err := n.Call(call.verb, call.pod, call.conf); err != nil {
					t.Errorf("%s for %s: %s of %s: %v %s %s", odd, file, call.verb, call.pod.ID, err, out, errs)
				}
			}
			unchanged(t, n, "")
		}
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "x" {
		t.Errorf("a link was followed: %q, %v", b, err)
	}
	if d := time.Since(start); d > 2*time.Minute {
		t.Errorf("it took %s", d)
	}
}

// Where no state directory can be, every ADD says so with one code, and a DEL of what never
// was succeeds, as does a GC.
func TestNoStateDirectory(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	pod := n.NewPod("web")
	sh := func(script string) []string {
		return []string{"unshare", "-m", "sh", "-c", "cd " + n.Dir + " && { " + script + "; } && exec \"$@\"", "sh"}
	}
	for name, script := range map[string]string{
		"a file":               "rm -rf state && touch state",
		"a link to a file":     "rm -rf state && touch top && ln -s top state",
		"a link to nowhere":    "rm -rf state && ln -s /nonexistent/x state",
		"a FIFO":               "rm -rf state && mkfifo state",
		"a read-only parent":   "rm -rf state && mount -t tmpfs -o ro none .",
		"read-only":            "rm -rf state && mkdir state && mount -t tmpfs -o ro none state",
		"full":                 "rm -rf state && mkdir state && mount -t tmpfs -o nr_inodes=1 none state",
		"full and used before": "rm -rf state && mkdir state && mount -t tmpfs -o size=4k,nr_inodes=2 none state && touch state/lock state.used && { cat /dev/zero >state/lock 2>/dev/null || true; }",
	} {
		out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, ""), sh(script)...)
		if err == nil || !strings.Contains(out, `"code": 5`) || !strings.Contains(out, "dataDir") {
			t.Errorf("%s: ADD: %v %s", name, err, out)
		}
		unchanged(t, n, "")
		gc := fmt.Sprintf(`{"cniVersion":"1.1.0","name":"net","type":"portguard","dataDir":"%s/state","cni.dev/valid-attachments":[]}`, n.Dir)
		for verb, conf := range map[string]string{"DEL": direct(n, pod, mapping, ""), "GC": gc} {
			if out, errs, err := n.Call(verb, pod, conf, sh(script)...); err != nil {
				t.Errorf("%s: %s: %v %s %s", name, verb, err, out, errs)
			}
		}
		_ = os.RemoveAll(filepath.Join(n.Dir, "state"))
		_ = os.RemoveAll(filepath.Join(n.Dir, "state.used"))
	}
}

// What cannot be read keeps no DEL from its work that has nothing there: without tools,
// beside tables of iptables-legacy, and where the kernel does not give those.
func TestDelBesideTheUnreadable(t *testing.T) {
	n := newNode(t, "", "legacy")
	pod, legacy, never := n.NewPod("web"), n.NewPod("legacy"), n.NewPod("never")
	link(n, pod)
	empty := filepath.Join(n.Dir, "empty")
	if err := os.MkdirAll(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	tools := []string{"env", "PATH=" + empty}
	deaf := []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=getsockopt", "-e", "inject=getsockopt:error=EPERM"}
	n.Run("iptables-legacy", "-t", "nat", "-L")
	n.Run("iptables-legacy", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "7", "-j", "DNAT", "--to-destination", "10.9.9.9")
	before := n.Rules()
	for name, wrap := range map[string][]string{"no tools": tools, "the kernel says no": deaf} {
		mustCall(t, n, "ADD", pod, direct(n, pod, mapping, `,"reserve":"off"`)) // that asks sockets for their namespace
		for _, p := range []*lab.Pod{pod, pod, never} {
			if out, errs, err := n.Call("DEL", p, direct(n, p, mapping, ""), wrap...); err != nil || strings.Contains(errs, "warning") != (name != "no tools") {
				t.Errorf("%s: DEL of %s: %v %s %q", name, p.ID, err, out, errs)
			}
			if p == pod {
				unchanged(t, n, before)
			}
		}
		conf := direct(n, legacy, port(8081), `,"backend":"iptables","localhost":false`)
		mustCall(t, n, "ADD", legacy, conf)
		held := n.Rules()
		if out, _, err := n.Call("DEL", legacy, conf, wrap...); err == nil || !strings.Contains(out, `"code": 111`) {
			t.Errorf("%s: DEL of what cannot be removed: %v %s", name, err, out)
		}
		unchanged(t, n, held)
		want(t, "records", fmt.Sprint(len(n.StateFiles())), "1")
		mustCall(t, n, "DEL", legacy, conf)
		unchanged(t, n, before)
	}
	if out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, `,"backend":"iptables"`), tools...); err == nil || !strings.Contains(out, `"code": 7`) || !strings.Contains(out, "install the iptables package") {
		t.Errorf("ADD without the tools: %v %s", err, out)
	}
	unchanged(t, n, before)
}

// A rule of somebody else that leads to a chain of ours keeps the chain, but no DEL from
// removing all that is in it.
func TestForeignJumps(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		pod := n.NewPod("web")
		link(n, pod)
		n.Iptables("", "-t nat -N MINE")
		mustCall(t, n, "ADD", pod, direct(n, pod, mapping, ""))
		mustCall(t, n, "DEL", pod, bare(n))
		before := n.Rules()
		for _, native := range []bool{false, true} {
			mustCall(t, n, "ADD", pod, direct(n, pod, mapping, ""))
			for _, chain := range regexp.MustCompile(`\b(PORTGUARD|PG[A-Z])-[A-Z0-9]+`).FindAllString(n.Rules(), -1) {
				if _, err := n.Try("", "iptables", "-t", "nat", "-C", "MINE", "-p", "tcp", "-j", chain); err != nil {
					_, _ = n.Try("", "iptables", "-t", "nat", "-A", "MINE", "-p", "tcp", "-j", chain) // fails for IPv6's
				}
			}
			if native && n.Flavour == "nft" {
				n.Run("nft", "add", "set", "ip", "nat", "theirs", "{ type ipv4_addr; }")
			}
			mustCall(t, n, "DEL", pod, bare(n))
			if rules := n.Rules(); !strings.Contains(rules, "PGD-") || strings.Contains(rules, "10.88.0.77") || len(n.StateFiles()) > 0 {
				t.Errorf("after DEL, native %t: %v\n%s", native, n.StateFiles(), rules)
			}
			if native && n.Flavour == "nft" {
				n.Run("nft", "delete", "set", "ip", "nat", "theirs")
			}
		}
		n.Iptables("", "-t nat -F MINE")
		mustCall(t, n, "ADD", pod, direct(n, pod, mapping, ""))
		mustCall(t, n, "DEL", pod, bare(n))
		unchanged(t, n, before)
	})
}
