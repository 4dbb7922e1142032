// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// A state directory that is full or read-only fails an ADD without a trace, and
// no DEL.
func TestStateDirectory(t *testing.T) {
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			n := lab.NewNode(t, bin, "nft")
			n.Backend = backend
			pod, held := n.NewPod("pod"), n.NewPod("held")
			dir := filepath.Join(n.Dir, "state")
			// The directory is mounted for whoever looks, as on a node.
			n.Run("mkdir", "-p", dir)
			n.Mount(dir, "size=64k")
			before := n.Rules()
			call := func(verb string, p *lab.Pod, port int) error {
				_, err := start(n, verb, p, conf(n, p, port), time.Minute)
				return err
			}
			must := func(verb string, p *lab.Pod, port int) {
				t.Helper()
				if err := call(verb, p, port); err != nil {
					t.Error(err)
				}
			}
			must("ADD", held, 8081)
			rules := n.Rules()
			// What is remembered would make room.
			fill := func() {
				_, _ = n.Try("", "sh", "-c", "rm -f "+dir+"/seen; dd if=/dev/zero of="+dir+"/fill bs=4k count=100 2>/dev/null")
			}
			for _, fault := range []struct {
				name     string
				on, off  func()
				delWorks bool
			}{
				{"full", fill, func() { n.Run("rm", "-f", dir+"/fill") }, true},
				{"read-only", func() { n.Remount(dir, true) }, func() { n.Remount(dir, false) }, true},
			} {
				fault.on()
				if err := call("ADD", pod, 8080); err == nil || !strings.Contains(err.Error(), "state") && !strings.Contains(err.Error(), "dataDir") {
					t.Errorf("%s: ADD: %v", fault.name, err)
				}
				if n.Rules() != rules {
					t.Errorf("%s: a failed ADD changed rules", fault.name)
				}
				must("DEL", pod, 8080)
				must("DEL", held, 8081)
				if n.Rules() != before {
					t.Errorf("%s: rules after DEL:\n%s", fault.name, n.Rules())
				}
				fault.off()
				must("ADD", held, 8081)
				must("ADD", pod, 8080)
				must("DEL", pod, 8080)
			}
			must("DEL", held, 8081)
			if n.Rules() != before {
				t.Errorf("rules left:\n%s", n.Rules())
			}
		})
	}
}

// What the kernel puts off is tried again, and is error 11 in the end, with nothing
// changed.
func TestBusyKernel(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	n.Backend = "nftables"
	pod := n.NewPod("pod")
	before := n.Rules()
	inject := func(when string) (string, error) {
		out, _, err := n.Call("ADD", pod, conf(n, pod, 8080), "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e", "inject=sendto:error=EBUSY"+when)
		return out, err
	}
	if out, err := inject(""); err == nil || !strings.Contains(out, `"code": 11`) {
		t.Errorf("for ever: %v %s", err, out)
	}
	if n.Rules() != before || len(leftFiles(n)) > 0 {
		t.Errorf("for ever: left %s %v", n.Rules(), leftFiles(n))
	}
	// Any single request: the ADD may fail, and then leaves nothing.
	for k := 1; k < 60; k += 3 {
		out, err := inject(":when=" + strconv.Itoa(k))
		if err != nil && (n.Rules() != before || len(leftFiles(n)) > 0) {
			t.Errorf("at request %d: %v %s\n%s %v", k, err, out, n.Rules(), leftFiles(n))
		}
		if out, _, err := n.Call("DEL", pod, conf(n, pod, 8080)); err != nil || n.Rules() != before {
			t.Errorf("DEL after request %d: %v %s", k, err, out)
		}
	}
}
