// SPDX-License-Identifier: Apache-2.0

// Package need skips tests that ask the kernel, where they cannot. With CI=true nothing
// may be missing, and they fail.
package need

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Root is for tests that make network namespaces.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "network namespaces need root")
	}
}

// Netns moves the test into a network namespace of its own, which goes with its thread.
func Netns(t testing.TB) {
	t.Helper()
	Root(t)
	runtime.LockOSThread()
	if _, err := netns.New(); err != nil {
		t.Fatal(err)
	}
}

// Apart runs a test once more, alone in a process with namespaces of its own (CLONE_NEW...), and
// reports whether this is that process.
func Apart(t testing.TB, namespaces uintptr) bool {
	t.Helper()
	Root(t)
	const inside = "PORTGUARD_TEST_INSIDE"
	if os.Getenv(inside) != "" {
		return true
	}
	runtime.LockOSThread() // the child goes with the thread
	defer runtime.UnlockOSThread()
	child, err := os.StartProcess("/proc/self/exe", []string{os.Args[0], "-test.run=^" + t.Name() + "$"}, &os.ProcAttr{
		Env: append(os.Environ(), inside+"=1"), Files: []*os.File{nil, os.Stderr, os.Stderr},
		Sys: &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: unix.SIGKILL}})
	if err != nil {
		t.Fatal(err)
	}
	if state, err := child.Wait(); err != nil || !state.Success() {
		t.Errorf("%v, %v; what it said is above", state, err)
	}
	return false
}

// NoProc takes /proc away from a process that has mounts of its own.
func NoProc(t testing.TB) {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount("/proc", unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
}

// Skip says what is missing.
func Skip(t testing.TB, what ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what...)
	}
	t.Skip(what...)
}
