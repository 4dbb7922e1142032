// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked means that another portguard kept the lock for longer than the
// timeout.
var ErrLocked = errors.New("another portguard process holds the lock")

// Lock takes the lock of the node, creating the directory if it must. The
// returned function releases it; so does the end of the process. A *DirError says whether
// there is no lock at all.
func (s *Store) Lock(timeout time.Duration) (unlock func(), err error) {
	path := filepath.Join(s.dir, "lock")
	deadline := time.Now().Add(timeout)
	for {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, &DirError{"make it", err, !regular(path)}
		}
		if !regular(path) {
			if err := s.clearLock(path, deadline); err != nil {
				return nil, &DirError{"remove what is in the place of the lock", err, !errors.Is(err, ErrLocked)}
			}
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if errors.Is(err, unix.EROFS) { // a DEL must work all the same
			f, err = os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		}
		if err != nil {
			return nil, &DirError{"open the lock", err, !regular(path)}
		}
		if err := flock(f, time.Until(deadline)); err != nil {
			return nil, lockError(path, timeout, err)
		}
		// Somebody may have removed the directory while we waited; the next
		// process would then lock another file.
		if same(f, path) {
			return func() { f.Close() }, nil
		}
		f.Close()
	}
}

// clearLock removes what is in the place of the lock and is none. It locks the directory
// meanwhile, so that nobody removes the lock of somebody who was faster.
func (s *Store) clearLock(path string, deadline time.Time) error {
	odd := func() bool { _, err := os.Lstat(path); return !errors.Is(err, fs.ErrNotExist) && !regular(path) }
	if !odd() {
		return nil
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := flock(d, time.Until(deadline)); err != nil || !odd() {
		return err // somebody was faster, and may be making the lock now
	}
	return os.RemoveAll(path)
}

// regular reports whether a regular file is there.
func regular(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode().IsRegular()
}

// flock waits in the kernel, which serves waiters in order. A wait that runs out leaves its
// goroutine behind, which lets go of what comes too late. A lock that is free is taken
// however short the wait.
func flock(f *os.File, timeout time.Duration) error {
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		for {
			err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
			if !errors.Is(err, unix.EINTR) {
				done <- err
				return
			}
		}
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(timeout):
		go func() {
			if <-done == nil {
				f.Close()
			}
		}()
		return ErrLocked
	}
}

// lockError says who kept the lock.
func lockError(path string, timeout time.Duration, err error) error {
	if !errors.Is(err, ErrLocked) {
		return dirError("take the lock", &os.PathError{Op: "flock", Path: path, Err: err})
	}
	return fmt.Errorf("%w %s: waited %s%s", err, path, timeout, holder(path))
}

// holder says the PID of who has locked a file, as far as /proc/locks tells:
// "1: FLOCK  ADVISORY  WRITE 708 00:19:1432 0 EOF". Who waits has "->" before FLOCK.
func holder(path string) string {
	var st unix.Stat_t
	b, err := os.ReadFile("/proc/locks")
	if err != nil || unix.Stat(path, &st) != nil {
		return ""
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev)), st.Ino)
	for line := range strings.Lines(string(b)) {
		w := strings.Fields(line)
		if len(w) == 8 && w[1] == "FLOCK" && w[5] == file {
			return ", pid " + w[4] + " has it"
		}
	}
	return ""
}

func same(f *os.File, path string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}
