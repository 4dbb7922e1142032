// SPDX-License-Identifier: Apache-2.0

// Package file reads and replaces files in whose place others may have put anything.
package file

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Read reads a regular file of at most so many bytes. To open a FIFO would wait for ever,
// and a file with holes may be larger than all memory. Flags are further ones of open(2).
func Read(path string, most int64, flags int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case st.Size() > most:
		return nil, fmt.Errorf("it holds %d bytes, which is too much (want at most %d)", st.Size(), most)
	}
	b := make([]byte, st.Size()) // files are replaced, not written to
	_, err = io.ReadFull(f, b)
	return b, err
}

// Replace writes a file by way of another one in the same folder, fresh, so that whoever reads
// it, also after a crash, has the old text or the new one. What is in the place of fresh is
// from a process that was killed, and goes; so does an error's.
func Replace(path, fresh string, text []byte, mode os.FileMode) error {
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	// The umask does not apply to chmod.
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	return nil
}
