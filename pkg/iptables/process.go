// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type result struct {
	stdout, stderr string
	status         syscall.WaitStatus
}

// runProcess runs one process with files in memory as its input and outputs.
// os/exec is not used: it starts one process more, to find out whether pidfds
// work, and copies every output through pipes.
func runProcess(path, stdin string, limit time.Duration, args ...string) (result, error) {
	var r result
	var files [3]*os.File
	var fds []uintptr
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
		if err != nil {
			return r, fmt.Errorf("memfd_create: %w", err)
		}
		files[i] = os.NewFile(uintptr(fd), name)
		defer files[i].Close()
		fds = append(fds, uintptr(fd))
	}
	if _, err := files[0].WriteString(stdin); err != nil {
		return r, err
	}
	if _, err := files[0].Seek(0, io.SeekStart); err != nil {
		return r, err
	}
	// If we are killed the tool dies too: it must not commit after the lock is
	// gone. The signal is bound to the thread that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec(path, append([]string{path}, args...), &syscall.ProcAttr{
		Env: os.Environ(), Files: fds, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return r, err
	}
	kill := time.AfterFunc(limit, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	defer kill.Stop()
	for {
		_, err = syscall.Wait4(pid, &r.status, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return r, fmt.Errorf("wait: %w", err)
	}
	r.stdout, err = contents(files[1])
	if err == nil {
		r.stderr, err = contents(files[2])
	}
	return r, err
}

// contents reads a file from its start; the process shared its offset.
func contents(f *os.File) (string, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	b, err := io.ReadAll(f)
	return string(b), err
}
