// SPDX-License-Identifier: Apache-2.0

package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/internal/need"
)

func TestCounters(t *testing.T) {
	s := created(t)
	fresh := Counters{BootID: "a", Refusals: map[string]uint64{}, Conflicts: map[string]uint64{}}
	if diff := cmp.Diff(fresh, s.Counters("a")); diff != "" {
		t.Errorf("before the first (-want +got)\n%s", diff)
	}
	c := s.Counters("a")
	c.Refusals["listener"]++
	c.Conflicts["nodePort"] += 2
	if err := s.Count(c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, s.Counters("a")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := s.Counters("b"); len(got.Refusals) > 0 || got.BootID != "b" {
		t.Errorf("they survive a boot: %+v", got)
	}
	if s.Keys() != nil {
		t.Error("counters are taken for a record")
	}
	for _, broken := range []string{"", "{", `{"bootID":"a"}`, "[]"} {
		write(t, s.counters(), broken)
		if diff := cmp.Diff(fresh, s.Counters("a")); diff != "" {
			t.Errorf("%q (-want +got)\n%s", broken, diff)
		}
	}
	if err := store(t).Count(c); err == nil {
		t.Error("counters were written nowhere")
	}
}

func TestLoose(t *testing.T) {
	s := created(t)
	if got := s.Loose(); got != "" {
		t.Errorf("a directory of our own: %q", got)
	}
	if got := store(t).Loose(); got != "" {
		t.Errorf("none: %q", got)
	}
	if err := os.Chmod(s.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if got := s.Loose(); !strings.Contains(got, "writable for others (mode 0777)") {
		t.Errorf("got %q", got)
	}
}

// What is in memory is on no disk; of a directory that is not there yet its parent tells.
func TestDisk(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	for path, want := range map[string]string{dir: "", dir + "/run/portguard": "", "/proc/portguard": "file system 0x9fa0"} {
		if got := Open(path).Disk(); got != want {
			t.Errorf("%s is on %q, want %q", path, got, want)
		}
	}
}

// CouldWrite asks the file system, for the mark beside the directory too.
func TestCouldWriteSays(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, file, "")
	if err := os.Symlink(file+"x", file+"-link"); err != nil {
		t.Fatal(err)
	}
	mount := func(name, options string) string {
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", at, "tmpfs", 0, options); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
		return at
	}
	full, crowded, frozen, free := mount("full", "size=32k"), mount("crowded", "nr_inodes=2"), mount("frozen", ""), mount("free", "size=0,nr_inodes=0")
	write(t, full+"/x", strings.Repeat("x", 32<<10))
	write(t, crowded+"/x", "")
	if err := os.Mkdir(frozen+"/state", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", frozen+"/state", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", frozen, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		file: "not a directory", file + "/x": "not a directory", file + "-link": "no such file", full: "no space left", full + "/not/yet": "no space left", crowded: "no space left",
		frozen + "/not/yet": "read-only", frozen + "/state": "read-only", free: "", free + "/state": "",
	} {
		if err := Open(path).CouldWrite(); says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, want %q", path, err, says)
		}
	}
}

func TestCouldWrite(t *testing.T) {
	s := created(t)
	if err := s.CouldWrite(); err != nil {
		t.Error(err)
	}
	if err := Open(s.dir + "/not/yet/there").CouldWrite(); err != nil {
		t.Errorf("a directory that can be made: %v", err)
	}
	if err := Open("/proc/1/portguard").CouldWrite(); err == nil {
		t.Error("/proc is writable")
	}
}
