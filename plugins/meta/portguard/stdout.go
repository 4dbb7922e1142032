// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// output is stdout, or fails. What nobody reads is an error there and does not end the
// process, which has to undo what it did.
func output() io.Writer {
	signal.Ignore(unix.SIGPIPE)
	if closed() {
		return nowhere{}
	}
	return os.Stdout
}

// closed reports whether the process was started without stdout. Go's runtime opens
// /dev/null in its place, for reading too, as nobody does who wants to write there.
func closed() bool {
	var st unix.Stat_t
	flags, err := unix.FcntlInt(1, unix.F_GETFL, 0)
	return err != nil || flags&unix.O_ACCMODE == unix.O_RDWR && unix.Fstat(1, &st) == nil && st.Rdev == unix.Mkdev(1, 3)
}

// nowhere takes nothing.
type nowhere struct{}

func (nowhere) Write([]byte) (int, error) {
	return 0, os.NewSyscallError("write /dev/stdout", unix.EBADF)
}
