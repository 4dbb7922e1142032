// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// A Cost is what a program took besides time.
type Cost struct {
	// Children counts the processes it and its children started.
	Children int
	// Memory is the most that any one of them had at a time, in KiB.
	Memory int
}

// Trace runs the program under ptrace. Its ru_maxrss would not do: the kernel
// carries the maximum of the memory from which it was forked, ours, over execve.
func (c Command) Trace() (Result, Cost, error) {
	f, err := c.files()
	if err != nil {
		return Result{}, Cost{}, err
	}
	defer f.close()
	pid, err := c.start(f, &syscall.SysProcAttr{Ptrace: true})
	if err != nil {
		return Result{}, Cost{}, err
	}
	t := &tracer{main: pid, known: map[int]bool{}}
	if err := t.run(); err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return Result{}, Cost{}, fmt.Errorf("trace %s: %w", c.Path, err)
	}
	out, err := f.output()
	return Result{Output: out, Code: t.code}, t.cost, err
}

type tracer struct {
	main, code int
	known      map[int]bool
	cost       Cost
}

// options make every child and thread traced too, and stop each before it ends.
const options = syscall.PTRACE_O_TRACEFORK | syscall.PTRACE_O_TRACEVFORK | syscall.PTRACE_O_TRACECLONE |
	syscall.PTRACE_O_TRACEEXEC | syscall.PTRACE_O_TRACEEXIT

// run follows the program until its first process has ended, and with it, for
// all that is measured here, the others.
func (t *tracer) run() error {
	var status syscall.WaitStatus
	if _, err := wait(t.main, &status, 0, nil); err != nil {
		return err
	}
	if err := syscall.PtraceSetOptions(t.main, options); err != nil {
		return err
	}
	t.known[t.main] = true
	pid := t.main
	for {
		if status.Stopped() {
			if err := syscall.PtraceCont(pid, t.stopped(pid, status)); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		} else if pid == t.main {
			t.code = status.ExitStatus()
			return nil
		}
		var err error
		// Of this thread only: others wait for processes of their own.
		if pid, err = wait(-1, &status, syscall.WALL|syscall.WNOTHREAD, nil); err != nil {
			return err
		}
	}
}

// stopped notes what a stop tells and returns the signal to deliver.
func (t *tracer) stopped(pid int, status syscall.WaitStatus) int {
	if !t.known[pid] {
		t.known[pid] = true
		if field(pid, "Tgid") == pid {
			t.cost.Children++
		}
		if status.StopSignal() == syscall.SIGSTOP {
			return 0 // the stop with which a traced child begins
		}
	}
	if status.StopSignal() != syscall.SIGTRAP {
		return int(status.StopSignal())
	}
	// A child of vfork shares the memory of its parent until execve.
	if status.TrapCause() == syscall.PTRACE_EVENT_EXIT {
		t.cost.Memory = max(t.cost.Memory, field(pid, "VmHWM"))
	}
	return 0
}

// field reads a number of /proc/PID/status, 0 if it is not there.
func field(pid int, name string) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			return n
		}
	}
	return 0
}
