// SPDX-License-Identifier: Apache-2.0

// Package need skips tests that ask the kernel, where they cannot. With CI=true nothing
// may be missing, and they fail.
package need

import (
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
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

// Skip says what is missing.
func Skip(t testing.TB, what ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what...)
	}
	t.Skip(what...)
}
