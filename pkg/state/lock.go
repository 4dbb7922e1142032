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

// ErrLocked means that another portguard kept the lock for longer than the timeout, or
// that many others had it one after another.
var ErrLocked = errors.New("another portguard process holds the lock")

// longestQueue is for how many timeouts a process waits that sees the lock change hands: with
// the default for less than two minutes, which is how long a kubelet waits for the end of a
// sandbox. For the start of one it waits twice as long (cri-client, remote_runtime.go).
const longestQueue = 10

// Lock takes the lock of the node, creating the directory if it must. It waits as long as
// nobody keeps it for the timeout: a hundred pods that start at once have it in turn. The
// returned function releases it; so does the end of the process. A *DirError says whether
// there is no lock at all.
func (s *Store) Lock(timeout time.Duration) (unlock func(), err error) {
	return s.lock(timeout, longestQueue)
}

// LockWithin is Lock for who would rather do without than wait longer.
func (s *Store) LockWithin(limit time.Duration) (unlock func(), err error) {
	return s.lock(limit, 1)
}

func (s *Store) lock(timeout time.Duration, turns int) (unlock func(), err error) {
	path := filepath.Join(s.dir, "lock")
	start := time.Now()
	for {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, &DirError{"make it", err, !regular(path)}
		}
		if !regular(path) {
			if err := s.clearLock(path, timeout, turns); err != nil {
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
		if err := flock(f, timeout, turns); err != nil {
			return nil, lockError(path, time.Since(start), err)
		}
		// Somebody may have removed the directory while we waited; the next
		// process would then lock another file.
		if same(f, path) {
			return func() { f.Close() }, nil
		}
		f.Close()
	}
}

// Locked reports whether somebody has ever taken the lock: then taking it makes nothing new.
func (s *Store) Locked() bool { return regular(filepath.Join(s.dir, "lock")) }

// clearLock removes what is in the place of the lock and is none. It locks the directory
// meanwhile, so that nobody removes the lock of somebody who was faster.
func (s *Store) clearLock(path string, timeout time.Duration, turns int) error {
	odd := func() bool { _, err := os.Lstat(path); return !errors.Is(err, fs.ErrNotExist) && !regular(path) }
	if !odd() {
		return nil
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := flock(d, timeout, turns); err != nil || !odd() {
		return err // somebody was faster, and may be making the lock now
	}
	return os.RemoveAll(path)
}

// regular reports whether a regular file is there.
func regular(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode().IsRegular()
}

// flock waits in the kernel, which serves waiters in order. An error closes the file: at once,
// or, where a wait has run out, when the lock comes too late for it. A lock that is free is
// taken however short the wait.
func flock(f *os.File, timeout time.Duration, turns int) error {
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		stamp(f)
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
	for waits, held := 1, stamped(f); ; waits++ {
		select {
		case err := <-done:
			if err != nil {
				return errors.Join(err, f.Close())
			}
			stamp(f)
			return nil
		case <-time.After(timeout):
			last := held
			if held = stamped(f); waits < turns && !held.Equal(last) {
				continue
			}
			go func() { _ = errors.Join(<-done, f.Close()) }()
			return ErrLocked
		}
	}
}

// stamp tells those who wait that the lock has changed hands, by the time of the file. On a
// file system that is read-only nobody is told.
func stamp(f *os.File) {
	now := unix.NsecToTimeval(time.Now().UnixNano())
	_ = unix.Futimes(int(f.Fd()), []unix.Timeval{now, now})
}

// stamped is when the lock changed hands, as far as that is known.
func stamped(f *os.File) time.Time {
	st, err := f.Stat()
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

// lockError says who kept the lock.
func lockError(path string, waited time.Duration, err error) error {
	if !errors.Is(err, ErrLocked) {
		return dirError("take the lock", &os.PathError{Op: "flock", Path: path, Err: err})
	}
	return fmt.Errorf("%w %s: waited %s%s", err, path, waited.Round(10*time.Millisecond), holder(path))
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
