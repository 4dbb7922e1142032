// SPDX-License-Identifier: Apache-2.0

// Package run runs one program to its end.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// A Result is what a program left.
type Result struct {
	Stdout, Stderr string
	// Code is the exit status, -1 for a program that a signal ended.
	Code int
	how  string
}

// Run runs a program and waits for it, at most for limit. How it ended is in the result.
//
// It is in the network namespace of the calling thread. Killed ourselves, we leave no
// program behind that commits after portguard's lock is gone: the kernel ends it with the
// thread that has started it, so the thread must live as long.
func Run(path, stdin string, limit time.Duration, args ...string) (Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second // a child of the program may hold the pipes
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return Result{}, err
	}
	r := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
	case cmd.ProcessState.Success():
		return r, err
	case r.Code < 0:
		r.how = fmt.Sprintf("ended by a signal (%s; it may run for %s)", strings.TrimPrefix(cmd.ProcessState.String(), "signal: "), limit)
	default:
		r.how = cmd.ProcessState.String()
	}
	return r, nil
}

// Said returns what the program wrote about a failure, in one line, or how it
// ended; "" for success.
func (r Result) Said() string {
	if r.how == "" {
		return ""
	}
	if msg := strings.Join(strings.Fields(r.Stderr), " "); msg != "" {
		return r.how + ": " + msg
	}
	return r.how + ", and it said nothing"
}
