// SPDX-License-Identifier: Apache-2.0

package state

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CouldWrite reports why a record could not be written, without writing: it asks the file
// system.
func (s *Store) CouldWrite() error {
	err := couldWrite(s.dir)
	if err == nil && !s.Used() {
		err = couldWrite(filepath.Dir(s.dir)) // for the mark
	}
	return dirError("write to it", err)
}

// room is what is needed for a record and what is written beside it.
const room = 16 << 10

func couldWrite(dir string) error {
	err := unix.Access(dir+"/.", unix.W_OK|unix.X_OK)
	if _, lerr := os.Lstat(dir); errors.Is(err, unix.ENOENT) && lerr != nil && dir != filepath.Dir(dir) {
		return couldWrite(filepath.Dir(dir)) // it will be made
	}
	if err != nil {
		return &os.PathError{Op: "access", Path: dir, Err: err}
	}
	var st unix.Statfs_t // where something has no limit, its total is 0
	if err := unix.Statfs(dir, &st); err != nil || st.Blocks > 0 && st.Bfree*uint64(st.Bsize) < room || st.Files > 0 && st.Ffree == 0 {
		return &os.PathError{Op: "statfs", Path: dir, Err: cmp.Or(err, error(unix.ENOSPC))}
	}
	return nil
}

// Loose says who else may write into the directory, "" if nobody: the lock is no
// lock then, and records may be anybody's.
func (s *Store) Loose() string {
	var st unix.Stat_t
	switch {
	case unix.Stat(s.dir, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return "" // it will be made, or cannot be: CouldWrite tells
	case st.Uid != 0:
		return fmt.Sprintf("%s belongs to uid %d", s.dir, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Sprintf("%s is writable for others (mode %04o)", s.dir, st.Mode&0o7777)
	}
	return ""
}

// Disk names the file system that the directory is on, or will be, "" if that is in memory.
func (s *Store) Disk() string {
	var st unix.Statfs_t
	for dir := s.dir; unix.Statfs(dir, &st) != nil; dir = filepath.Dir(dir) {
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
	switch int64(uint32(st.Type)) { // it is an int32 on some machines
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return ""
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	}
	return fmt.Sprintf("file system 0x%x", st.Type)
}

// A DirError says what could not be done in the directory of records.
type DirError struct {
	Doing string
	Err   error
	// Free is set if there is no lock, so that nobody can hold it.
	Free bool
}

func (e *DirError) Error() string {
	return fmt.Sprintf("dataDir: could not %s: %v; make it a directory that root can write, with space left, or choose another one", e.Doing, e.Err)
}

func (e *DirError) Unwrap() error { return e.Err }

// dirError is nil for no error.
func dirError(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &DirError{Doing: doing, Err: err}
}
