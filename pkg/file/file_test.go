// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/internal/need"
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
		{"socket", 0, "", "no regular file"},
		{"none", 0, "", "no such file"},
	} {
		got, err := Read(at(c.name), 4, c.flags)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) || string(got) != c.want {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

// What is no regular file is not opened: whoever waits to write to a FIFO waits on.
func TestReadOpensFilesOnly(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{})
	go func() {
		if f, err := os.OpenFile(fifo, os.O_WRONLY, 0); err == nil {
			f.Close()
		}
		close(opened)
	}()
	for range 20 { // the writer may be late
		_, _ = Read(fifo, 4, 0)
		time.Sleep(5 * time.Millisecond)
	}
	select {
	case <-opened:
		t.Error("it was opened")
	default:
	}
	f, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	<-opened
}

// Without /proc a file cannot be read, which is not to say that there is none.
func TestReadWithoutProc(t *testing.T) {
	if !need.Apart(t, unix.CLONE_NEWNS) {
		return
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	need.NoProc(t)
	if _, err := Read(file, 4, 0); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is there: %v", err)
	}
	if _, err := Read(file+"x", 4, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not: %v", err)
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path, fresh := filepath.Join(dir, "text"), filepath.Join(dir, ".text.new")
	if err := os.MkdirAll(filepath.Join(fresh, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o600, 0o666} {
		if err := Replace(path, fresh, []byte(mode.String()), mode); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		st, serr := os.Stat(path)
		if err != nil || serr != nil || string(b) != mode.String() || st.Mode() != mode {
			t.Errorf("%s: %q %v %v %v", mode, b, st.Mode(), err, serr)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(filepath.Join(dir, "folder"), fresh, nil, 0o600); err == nil {
		t.Error("a folder is replaced")
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
}
