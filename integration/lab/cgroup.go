// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Cgroup is one below that of the tests. What runs in it sees it as the root of all.
type Cgroup struct {
	T T
	// Dir is where it is mounted.
	Dir string
}

// NewCgroup makes a cgroup that is removed with the test.
func NewCgroup(t T) *Cgroup {
	t.Helper()
	mount := t.TempDir()
	if err := unix.Mount("none", mount, "cgroup2", 0, ""); err != nil {
		t.Fatalf("cgroup2: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mount, unix.MNT_DETACH) })
	c := &Cgroup{T: t, Dir: filepath.Join(mount, "sub-"+strings.ToLower(rand.Text()[:8]))}
	if err := os.Mkdir(c.Dir, 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		for range 50 { // a process that has ended is there for a moment
			if os.Remove(c.Dir) == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	return c
}

// Within are words before a command line that has the command run in the cgroup, as its root.
func (c *Cgroup) Within() []string {
	return []string{"sh", "-c", `echo $$ >` + c.Dir + `/cgroup.procs && exec unshare --cgroup "$@"`, "sh"}
}

// Root is the open directory.
func (c *Cgroup) Root() int {
	c.T.Helper()
	fd, err := unix.Open(c.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		c.T.Fatalf("%s: %v", c.Dir, err)
	}
	c.T.Cleanup(func() { unix.Close(fd) })
	return fd
}

// Pins are what portguard has pinned for it.
func (c *Cgroup) Pins() string {
	c.T.Helper()
	var st unix.Stat_t
	if err := unix.Stat(c.Dir, &st); err != nil {
		c.T.Fatalf("%v", err)
	}
	for _, dir := range Pins() {
		if strings.HasSuffix(dir, "-"+strconv.FormatUint(st.Ino, 10)) {
			return dir
		}
	}
	return ""
}
