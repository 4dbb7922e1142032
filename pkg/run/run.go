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

// A Job is a program that runs.
type Job struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	limit          time.Duration
	cancel         context.CancelFunc
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
// keeps its thread until then: the program is in the thread's network namespace, and the
// kernel ends it when that thread ends. Killed ourselves, we leave no program behind that
// commits after portguard's lock is gone.
func Start(path, stdin string, limit time.Duration, args ...string) (*Job, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	j := &Job{cmd: exec.CommandContext(ctx, path, args...), limit: limit, cancel: cancel}
	j.cmd.Stdin, j.cmd.Stdout, j.cmd.Stderr = strings.NewReader(stdin), &j.stdout, &j.stderr
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	j.cmd.WaitDelay = time.Second // a child of the program may hold the pipes
	runtime.LockOSThread()
	if err := j.cmd.Start(); err != nil {
		runtime.UnlockOSThread()
		cancel()
		return nil, err
	}
	return j, nil
}

// Wait waits for the program to end. How it ended is in the result.
func (j *Job) Wait() (Result, error) {
	defer j.cancel()
	defer runtime.UnlockOSThread()
	err := j.cmd.Wait()
	r := Result{Stdout: j.stdout.String(), Stderr: j.stderr.String(), Code: j.cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case j.cmd.ProcessState.Success(): // it did not take all of its input, or a child holds on
		if !errors.Is(err, exec.ErrWaitDelay) {
			return r, fmt.Errorf("could not wait for it: %w", err)
		}
	case errors.As(err, &exit), errors.Is(err, context.DeadlineExceeded):
		r.how = j.cmd.ProcessState.String()
		if r.Code < 0 {
			r.how = fmt.Sprintf("ended by a signal (%s; it may take %s)", strings.TrimPrefix(r.how, "signal: "), j.limit)
		}
	default:
		return r, fmt.Errorf("could not wait for it: %w", err)
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
	return r.how + " without a word"
}
