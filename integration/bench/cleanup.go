// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
)

// A bench is the lab.T of this program.
type bench struct{ cleanups []func() }

// Helper does nothing.
func (b *bench) Helper() {}

// Fatalf stops the benchmark.
func (b *bench) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Logf writes to stderr.
func (b *bench) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Cleanup remembers what to do at the end.
func (b *bench) Cleanup(f func()) { b.cleanups = append(b.cleanups, f) }

// TempDir makes a directory that is removed at the end.
func (b *bench) TempDir() string {
	dir, err := os.MkdirTemp("", "portguard-bench-")
	if err != nil {
		b.Fatalf("%v", err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (b *bench) clean() {
	for i := len(b.cleanups) - 1; i >= 0; i-- {
		b.cleanups[i]()
	}
	os.RemoveAll("/run/portguard-bench")
}
