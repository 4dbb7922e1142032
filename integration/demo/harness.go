// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"github.com/portguard/portguard/integration/lab"
)

// A demo is the lab.T of this command: what fails ends it, what was made is
// removed.
type demo struct {
	node    *lab.Node
	cleanup []func()
	code    int
}

var _ lab.T = &demo{}

// Helper does nothing.
func (d *demo) Helper() {}

// Logf prints a line.
func (d *demo) Logf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// Fatalf ends the demo; run cleans up.
func (d *demo) Fatalf(format string, args ...any) {
	d.code = 1
	panic(fmt.Sprintf(format, args...))
}

// Cleanup registers f for the end.
func (d *demo) Cleanup(f func()) { d.cleanup = append(d.cleanup, f) }

// TempDir makes a directory that is removed at the end.
func (d *demo) TempDir() string {
	dir, err := os.MkdirTemp("", "portguard-demo-")
	if err != nil {
		d.Fatalf("%v", err)
	}
	d.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (d *demo) clean() {
	for i := len(d.cleanup) - 1; i >= 0; i-- {
		d.cleanup[i]()
	}
}
