// SPDX-License-Identifier: Apache-2.0

// Package tool runs one program, with files in memory as its input and outputs.
package tool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Result is what a program left.
type Result struct {
	Stdout, Stderr string
	Status         syscall.WaitStatus
}

// A Job is a program that runs.
type Job struct {
	pid   int
	files [3]*os.File
	kill  *time.Timer
}

// Run runs a program and waits for it, at most for limit.
func Run(path, stdin string, limit time.Duration, args ...string) (Result, error) {
	j, err := Start(path, stdin, limit, args...)
	if err != nil {
		return Result{}, err
	}
	return j.Wait()
}

// Start starts a program, which is killed after limit. The goroutine must call Wait, and
// keeps its thread until then. os/exec is not used: it starts one process more, to find
// out whether pidfds work, and copies every output through pipes.
func Start(path, stdin string, limit time.Duration, args ...string) (*Job, error) {
	j := &Job{}
	fds, err := j.open(stdin)
	if err == nil {
		// If we are killed the tool dies too: it must not commit after the lock is
		// gone. The signal is bound to the thread that forked.
		runtime.LockOSThread()
		j.pid, err = syscall.ForkExec(path, append([]string{path}, args...), &syscall.ProcAttr{
			Env: os.Environ(), Files: fds, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}})
		if err != nil {
			runtime.UnlockOSThread()
		}
	}
	if err != nil {
		j.close()
		return nil, err
	}
	j.kill = time.AfterFunc(limit, func() { _ = syscall.Kill(j.pid, syscall.SIGKILL) })
	return j, nil
}

// open makes the files that are the program's input and outputs.
func (j *Job) open(stdin string) (fds []uintptr, err error) {
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("could not make a file in memory: %w", err)
		}
		j.files[i] = os.NewFile(uintptr(fd), name)
		fds = append(fds, uintptr(fd))
	}
	if _, err := j.files[0].WriteString(stdin); err != nil {
		return nil, err
	}
	_, err = j.files[0].Seek(0, io.SeekStart)
	return fds, err
}

func (j *Job) close() {
	for _, f := range j.files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// Wait waits for the program to end.
func (j *Job) Wait() (r Result, err error) {
	defer j.close()
	defer runtime.UnlockOSThread()
	for {
		_, err = syscall.Wait4(j.pid, &r.Status, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	j.kill.Stop()
	if err != nil {
		return r, fmt.Errorf("could not wait for it: %w", err)
	}
	r.Stdout, err = contents(j.files[1])
	if err == nil {
		r.Stderr, err = contents(j.files[2])
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

// Said returns what the program wrote about a failure, in one line, or how it
// ended; "" for success.
func (r Result) Said(limit time.Duration) string {
	var how string
	switch {
	case r.Status.Exited() && r.Status.ExitStatus() == 0:
		return ""
	case r.Status.Signaled():
		how = fmt.Sprintf("ended by a signal (%s; it may take %s)", r.Status.Signal(), limit)
	default:
		how = fmt.Sprintf("exit status %d", r.Status.ExitStatus())
	}
	if msg := strings.Join(strings.Fields(r.Stderr), " "); msg != "" {
		return how + ": " + msg
	}
	return how + " without a word"
}
