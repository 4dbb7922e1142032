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

// Read reads a regular file of at most so many bytes. What is no such file is not opened: a
// FIFO would let its writer go on, a device may do something, and a file with holes may be
// larger than all memory. Flags are further ones of open(2).
func Read(path string, most int64, flags int) ([]byte, error) {
	failed := func(err error) ([]byte, error) { return nil, &os.PathError{Op: "open", Path: path, Err: err} }
	place, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(place)
	var st unix.Stat_t
	if err := unix.Fstat(place, &st); err != nil {
		return failed(err)
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFLNK: // O_NOFOLLOW
		return failed(unix.ELOOP)
	case kind != unix.S_IFREG:
		return nil, errors.New("it is no regular file")
	case st.Size > most:
		return nil, fmt.Errorf("it holds %d bytes, which is too much (want at most %d)", st.Size, most)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", place), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) { // the file is there: nobody must take it for one that is not
		err = errors.New("/proc does not show this process")
	}
	if err != nil {
		return failed(err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	b := make([]byte, st.Size) // files are replaced, not written to
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
