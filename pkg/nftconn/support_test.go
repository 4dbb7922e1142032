// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/internal/golden"
	"github.com/portguard/portguard/pkg/internal/need"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

func TestMessages(t *testing.T) {
	dir := t.TempDir()
	m := golden.New(t, dir, "DIR")
	m.Section("kernels without what the backend needs; the plugin adds what to do")
	for _, tt := range []struct {
		release string
		answer  error
	}{{"5.4.0-generic", nil}, {"6.1.0", unix.EINVAL}, {"6.1.0", unix.EPERM}} {
		m.Add("109", errors.Join(enough(tt.release, tt.answer)).Error())
	}
	for _, release := range []string{"5.7.0", "5.10+", "6.1.0-rc1", "10.0"} {
		if lacks, err := enough(release, nil); lacks != nil || err != nil {
			t.Error(release, lacks, err)
		}
	}
	for _, release := range []string{"5.6.99", "4.19", "6", ""} {
		if lacks, err := enough(release, nil); !errors.Is(lacks, ErrNoKernel) || err != nil {
			t.Error(release, lacks, err)
		}
	}
	nftFails(t, m, dir)
	tooLong(t, m)
	m.Check(*update)
}

// tooLong sends more than the machine lets a user namespace send.
func tooLong(t *testing.T, m *golden.Messages) {
	t.Helper()
	m.Section("a transaction that is too long")
	var most int
	s, err := os.ReadFile("/proc/sys/net/core/wmem_max")
	if err == nil {
		_, err = fmt.Sscan(string(s), &most)
	}
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	need.Unprivileged(t, func() {
		one := len(create(1).Encode(false)) - len(create(0).Encode(false))
		b := create(2*most/one + 1)
		text := Open().Try(b).Error()
		m.Add("111", strings.Replace(text, strconv.Itoa(len(b.Encode(false))), "N", 1))
	})
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
