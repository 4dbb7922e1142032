// SPDX-License-Identifier: Apache-2.0

// Package monitoring tests what is in the directory monitoring with promtool, on
// the metrics of a real node.
package monitoring

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// bin is where TestMain puts the binaries.
var bin string

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run, &bin)) }

// file is one of the directory monitoring.
func file(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../monitoring", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// read reads one of them.
func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(file(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// write makes a file of the test.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// promtool runs the one on PATH, or that of "make promtool".
func promtool(t *testing.T, stdin []byte, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if tool, err = filepath.Abs("../../bin/tools/promtool"); err == nil {
			_, err = os.Stat(tool)
		}
	}
	if err != nil {
		t.Fatalf("no promtool: %v; make promtool", err)
	}
	cmd := exec.Command(tool, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}
