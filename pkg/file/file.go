// SPDX-License-Identifier: Apache-2.0

// Package file reads files in whose place others may have put anything.
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
