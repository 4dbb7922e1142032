// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"

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
// and of this boot.
func (r *Record) Alive(bootID string) bool {
	if r.BootID != bootID {
		return false
	}
	now, err := StatNetns(r.Netns.Path)
	return err == nil && now == r.Netns
}
