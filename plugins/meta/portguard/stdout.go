// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"log"
	"os"

	"golang.org/x/sys/unix"
)

// output is stdout, or fails. What nobody reads is an error there and does not end the
// process, which has to undo what it did. Go ends one that writes to a broken pipe by the
// numbers 1 and 2 (os/signal, "SIGPIPE"), so both have others here; to ignore the signal
// takes longer, for every pod. The caller keeps the files of before alive: a file that
// nobody refers to is closed, and the next pipe would have the number 1.
func output() (io.Writer, []*os.File) {
	none, before := closed(), []*os.File{os.Stdin, os.Stdout, os.Stderr}
	for _, f := range []**os.File{&os.Stdout, &os.Stderr} {
		if fd, err := unix.FcntlInt((*f).Fd(), unix.F_DUPFD_CLOEXEC, 3); err == nil {
			*f = os.NewFile(uintptr(fd), (*f).Name())
		}
	}
	log.SetOutput(os.Stderr) // skel's last resort
	if none {
		return nowhere{}, before
	}
	return os.Stdout, before
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
