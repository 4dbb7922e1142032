// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/internal/golden"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

func TestMessages(t *testing.T) {
	dir := t.TempDir()
	m := golden.New(t, dir, "DIR")
	m.Section("kernels without what the backend needs; the plugin adds what to do")
	for _, err := range []error{enough("5.4.0-generic", nil), enough("6.1.0", unix.EINVAL), enough("6.1.0", unix.EPERM)} {
		m.Add("109", err.Error())
	}
	if err := enough("6.1.0", nil); err != nil {
		t.Error(err)
	}
	nftFails(t, m, dir)
	m.Check(*update)
}

// nftFails has the nft program fail, in a directory of its own.
func nftFails(t *testing.T, m *golden.Messages, dir string) {
	t.Helper()
	m.Section("an nft program that cannot load the rules")
	t.Setenv("PATH", dir)
	run := func() { m.Add("111", RunScript("x").Error()) }
	run()
	for _, script := range []string{"\x00", "#!/bin/sh\necho 'Error: syntax error, unexpected string' >&2\nexit 1\n", "#!/bin/sh\nexit 1\n"} {
		if err := os.WriteFile(filepath.Join(dir, "nft"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		run()
	}
}
