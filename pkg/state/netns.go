// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Netns identifies a network namespace beyond its path, which may be reused.
type Netns struct {
	Path  string `json:"path"`
	Dev   uint64 `json:"dev"`
	Inode uint64 `json:"inode"`
}

// StatNetns looks at path, which must be a namespace.
func StatNetns(path string) (Netns, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Netns{}, fmt.Errorf("%q cannot be read: %w", path, err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return Netns{}, fmt.Errorf("%q cannot be read: %w", path, err)
	}
	if fs.Type != unix.NSFS_MAGIC && fs.Type != unix.PROC_SUPER_MAGIC {
		return Netns{}, fmt.Errorf("%q is not a network namespace", path)
	}
	return Netns{Path: path, Dev: st.Dev, Inode: st.Ino}, nil
}

// Alive reports whether the owner's network namespace is still the one of ADD,
// and of this boot. Only certain death counts: a path that cannot be looked at
// for another reason than its absence is alive.
func (r *Record) Alive(bootID string) bool {
	if r.BootID != bootID {
		return false
	}
	var st unix.Stat_t
	switch err := unix.Stat(r.Netns.Path, &st); {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return false
	case err != nil:
		return true
	}
	return st.Dev == r.Netns.Dev && st.Ino == r.Netns.Inode
}

// NetnsGone reports whether no network namespace with that inode is left: nothing
// is mounted from it and no process is in it. It is certain, or false.
func NetnsGone(proc string, inode uint64) bool {
	name := fmt.Sprintf("net:[%d]", inode)
	mounts, err := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
	if err != nil || strings.Contains(string(mounts), " "+name+" ") {
		return false
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err != nil || pid == 1 { // init is in no pod
			continue
		}
		link, err := os.Readlink(filepath.Join(proc, e.Name(), "ns/net"))
		if err == nil && link == name || err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return false
		}
	}
	return true
}
