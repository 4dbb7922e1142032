// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait is how long somebody else may take to install.
const lockWait = 10 * time.Second

// lock keeps others from installing meanwhile, whichever node they see: nodes in cgroup
// namespaces may share a bpffs. It is on the directory above the pins, which only root can open.
func lock() (unlock func(), err error) {
	dir := filepath.Join(BPFFS, "portguard")
	for end := time.Now().Add(lockWait); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		f, err := os.Open(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && still(f, dir) {
			return func() { f.Close() }, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("could not lock %s: %w", dir, err)
		}
	}
	return nil, fmt.Errorf("somebody else has been installing the programs for %s (%s is locked)", lockWait, dir)
}

// still reports whether an open directory is the one of that path: who fails removes it.
func still(f *os.File, path string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}
