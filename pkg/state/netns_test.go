// SPDX-License-Identifier: Apache-2.0

package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/internal/need"
)

const self = "/proc/self/ns/net"

func TestStatNetns(t *testing.T) {
	n, err := StatNetns(self)
	if err != nil || n.Path != self || n.Inode == 0 {
		t.Errorf("got %+v, %v", n, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	for path, says := range map[string]string{file: "is not a network namespace", "/nonexistent": "cannot be read", "": "cannot be read"} {
		if _, err := StatNetns(path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error is %v, want %q", path, err, says)
		}
	}
}

// A namespace is opened where it is, and not if another one is there.
func TestOpen(t *testing.T) {
	n, err := See("/proc").Identify(self)
	if err != nil {
		t.Fatal(err)
	}
	moved, other, old := n, n, n
	moved.Path, other.Inode, old.Inode = "/nonexistent", n.Inode+1, 0
	for name, tt := range map[string]struct {
		n    Netns
		seen bool
	}{"at its path": {n, true}, "of a process": {moved, true}, "another": {other, false}, "of which only the path is known": {old, false}} {
		f := See("/proc").Open(tt.n)
		if (f != nil) != tt.seen {
			t.Errorf("%s: opened %v", name, f)
		}
		if f != nil {
			_ = f.Close()
		}
	}
	again := n
	again.Cookie++
	if !n.Same() || n.Cookie != 0 && again.Same() {
		t.Errorf("cookie %d is not told from %d", n.Cookie, again.Cookie)
	}
}

// Where /proc shows another PID namespace, numbers of our own lead to the threads of others, and
// no thread of ours must go to where they are.
func TestProcOfOthers(t *testing.T) {
	if !need.Apart(t, unix.CLONE_NEWPID|unix.CLONE_NEWNET) {
		return
	}
	for range 20 {
		if n, err := See("/proc").Identify(self); err != nil || n.Cookie != 0 || See("/proc").Open(n) != nil {
			t.Errorf("entered %+v, %v", n, err)
		}
	}
	own, err := os.Readlink(self)
	threads, _ := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(threads) == 0 {
		t.Fatalf("%v, threads %v", err, threads)
	}
	for _, path := range threads {
		if at, err := os.Readlink(path); err == nil && at != own {
			t.Errorf("%s is %s, and it was %s", path, at, own)
		}
	}
}
