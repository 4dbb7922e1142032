// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
)

// within has a call see other mounts: a command that changes them comes first.
func within(change string) []string {
	return []string{"unshare", "-m", "--propagation", "private", "sh", "-ec", change + `; exec "$@"`, "sh"}
}

// A port from ip_local_port_range is held there too. Where /proc/sys cannot be written an ADD of
// one is refused, leaves nothing, and says what would do. What is held already a DEL lets go.
func TestPortsOfReadOnlySysctls(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	pod := n.NewPod("web")
	link(n, pod)
	n.Sysctl("net/ipv4/ip_local_port_range", "40000 40100")
	frozen := within("mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys")
	conf := direct(n, pod, `[{"hostPort":40001,"containerPort":80,"protocol":"tcp"}]`, `,"localhost":false`)
	if out, _, err := n.Call("ADD", pod, conf, frozen...); err == nil || !strings.Contains(out, `or set \"localhost\": false and \"reserve\": \"off\"`) {
		t.Errorf("ADD: %v %s", err, out)
	}
	unchanged(t, n, "")
	if out, errs, err := n.Call("DEL", pod, conf, frozen...); err != nil || errs != "" {
		t.Errorf("DEL of nothing: %v %s %s", err, out, errs)
	}
	if out, _, err := n.Call("ADD", pod, strings.Replace(conf, `"localhost"`, `"reserve":"off","localhost"`, 1), frozen...); err != nil {
		t.Errorf("ADD that does as it was told: %v %s", err, out)
	}
	if out, errs, err := n.Call("DEL", pod, conf, frozen...); err != nil || errs != "" {
		t.Errorf("DEL: %v %s %s", err, out, errs)
	}
	unchanged(t, n, "")
}

// A kernel without BPF holds no ports, and everything else works.
func TestKernelWithoutBPF(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	pod := n.NewPod("web")
	link(n, pod)
	without := []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=bpf", "-e", "inject=bpf:error=ENOSYS"}
	for _, verb := range []string{"ADD", "CHECK", "DEL"} {
		if out, errs, err := n.Call(verb, pod, direct(n, pod, mapping, ""), without...); err != nil || errs != "" {
			t.Errorf("%s: %v %s %s", verb, err, out, errs)
		}
	}
	unchanged(t, n, "")
	out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, `,"reserve":"require"`), without...)
	if err == nil || !strings.Contains(out, "function not implemented") {
		t.Errorf("ADD that requires it: %v %s", err, out)
	}
	unchanged(t, n, "")
}

// A DEL waits for nobody at what is in the place of a network namespace.
func TestDelAtAFIFO(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	pod := n.NewPod("web")
	link(n, pod)
	conf, at := direct(n, pod, mapping, ""), *pod.Netns
	at.Path = filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(at.Path, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, err := n.Call("ADD", pod, conf); err != nil {
		t.Fatalf("ADD: %v %s", err, out)
	}
	for _, conf := range []string{conf, direct(n, pod, "[]", "")} {
		if out, errs, err := n.Call("DEL", &lab.Pod{Netns: &at, ID: pod.ID}, conf, "timeout", "20"); err != nil || errs != "" {
			t.Errorf("DEL: %v %s %s", err, out, errs)
		}
	}
	unchanged(t, n, "")
}
