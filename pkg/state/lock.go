// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked means that another portguard kept the lock for longer than the
// timeout.
var ErrLocked = errors.New("another portguard process holds the lock")

// Lock takes the lock of the node, creating the directory if it must. The
// returned function releases it; so does the end of the process.
func (s *Store) Lock(timeout time.Duration) (unlock func(), err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("dataDir: %w", err)
	}
	path := filepath.Join(s.dir, "lock")
	deadline := time.Now().Add(timeout)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if errors.Is(err, unix.EROFS) { // a DEL must work all the same
			f, err = os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		}
		if err != nil {
			return nil, fmt.Errorf("dataDir: %w", err)
		}
		if err := flock(f, time.Until(deadline)); err != nil {
			return nil, fmt.Errorf("%w %s: waited %s", err, path, timeout)
		}
		// Somebody may have removed the directory while we waited; the next
		// process would then lock another file.
		if same(f, path) {
			return func() { f.Close() }, nil
		}
		f.Close()
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, fmt.Errorf("dataDir: %w", err)
		}
	}
}

// flock waits in the kernel, which serves waiters in order. A wait that runs
// out leaves its goroutine behind: the process is about to end.
func flock(f *os.File, timeout time.Duration) error {
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
		return ErrLocked
	}
}

func same(f *os.File, path string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}
