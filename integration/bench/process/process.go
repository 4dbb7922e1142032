// SPDX-License-Identifier: Apache-2.0

// Package process runs programs to be measured: timed, or traced for what they
// start and how much memory they take. Both want the caller's thread locked.
package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Command is a program with its input. Files in memory are its input and
// output: with pipes the time would be that of our goroutines too.
type Command struct {
	Path  string
	Env   []string
	Input string
}

// A Result is what is left of a program.
type Result struct {
	Output string
	Code   int
	Took   time.Duration
	// CPU is what the program computed, and the programs that it started and waited for.
	CPU time.Duration
}

// Run runs it and takes the time from before the fork to after the wait.
func (c Command) Run() (Result, error) {
	f, err := c.files()
	if err != nil {
		return Result{}, err
	}
	defer f.close()
	start := time.Now()
	pid, err := c.start(f, nil)
	if err != nil {
		return Result{}, err
	}
	var status syscall.WaitStatus
	var used syscall.Rusage
	_, err = wait(pid, &status, 0, &used)
	took := time.Since(start)
	if err != nil {
		return Result{}, fmt.Errorf("wait for %s: %w", c.Path, err)
	}
	out, err := f.output()
	cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	return Result{Output: out, Code: status.ExitStatus(), Took: took, CPU: cpu}, err
}

func (c Command) start(f files, sys *syscall.SysProcAttr) (int, error) {
	pid, err := syscall.ForkExec(c.Path, []string{c.Path}, &syscall.ProcAttr{Env: c.Env, Sys: sys,
		Files: []uintptr{f[0].Fd(), f[1].Fd(), f[1].Fd()}})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return pid, nil
}

func wait(pid int, status *syscall.WaitStatus, options int, used *syscall.Rusage) (int, error) {
	for {
		got, err := syscall.Wait4(pid, status, options, used)
		if !errors.Is(err, syscall.EINTR) {
			return got, err
		}
	}
}

// files are the input and the output.
type files [2]*os.File

func (c Command) files() (files, error) {
	var f files
	for i, name := range []string{"input", "output"} {
		fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
		if err != nil {
			return f, fmt.Errorf("memfd_create: %w", err)
		}
		f[i] = os.NewFile(uintptr(fd), name)
	}
	_, err := f[0].WriteString(c.Input)
	if err == nil {
		_, err = f[0].Seek(0, io.SeekStart)
	}
	return f, err
}

func (f files) output() (string, error) {
	if _, err := f[1].Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	b, err := io.ReadAll(f[1])
	return string(b), err
}

func (f files) close() {
	for _, file := range f {
		file.Close()
	}
}
