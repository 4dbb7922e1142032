// SPDX-License-Identifier: Apache-2.0

package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(at("whole"), []byte("text"), 0o600))
	must(os.WriteFile(at("empty"), nil, 0o600))
	must(os.Symlink("whole", at("link")))
	must(unix.Mkfifo(at("fifo"), 0o600))
	must(os.WriteFile(at("huge"), nil, 0o600))
	must(os.Truncate(at("huge"), 1<<43))
	must(unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0))
	for _, c := range []struct {
		name       string
		flags      int
		want, says string
	}{
		{"whole", 0, "text", ""},
		{"empty", 0, "", ""},
		{"link", 0, "text", ""},
		{"link", unix.O_NOFOLLOW, "", "symbolic links"},
		{"fifo", 0, "", "no regular file"},
		{".", 0, "", "no regular file"},
		{"huge", 0, "", "8796093022208 bytes"},
		{"socket", 0, "", "no such device"},
		{"none", 0, "", "no such file"},
	} {
		got, err := Read(at(c.name), 4, c.flags)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) || string(got) != c.want {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}
