// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/run"
)

// entering is the command by which this program starts itself to run another in a mount
// namespace.
const entering = "enter"

// freeing is the command by which it takes off the node, there, what holds ports.
const freeing = "free"

// free takes off the node what holds ports in the kernel.
func free(mounts string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, err := ask(mounts, self, freeing)
	if err == nil && r.Said() != "" {
		err = fmt.Errorf("what holds ports could not be removed: %s", r.Said())
	}
	return err
}

// ask runs a program in a mount namespace, "" for ours. Whether a pod lives is said by what
// the runtime sees: its mounts, its /proc, its iptables. A container has others.
func ask(mounts, path string, args ...string) (run.Result, error) {
	if mounts == "" {
		return run.Run(path, "", time.Minute, args...)
	}
	self, err := os.Executable()
	if err != nil {
		return run.Result{}, err
	}
	return run.Run(self, "", time.Minute, append([]string{entering, mounts, path}, args...)...)
}

// enter becomes a program of this mount namespace in another one, and returns only if that
// fails. The thread that enters is the one that is left.
func enter(mounts, path string, args []string) error {
	runtime.LockOSThread()
	program, err := unix.Open(path, unix.O_RDONLY, 0) // stays open for exec
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	ns, err := unix.Open(mounts, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Unshare(unix.CLONE_FS) // what threads share cannot enter
	}
	if err == nil {
		err = unix.Setns(ns, unix.CLONE_NEWNS)
	}
	if err != nil {
		return &os.PathError{Op: "enter", Path: mounts, Err: err}
	}
	err = unix.Exec(fmt.Sprintf("/proc/self/fd/%d", program), append([]string{path}, args...), os.Environ())
	return &os.PathError{Op: "exec", Path: path, Err: err}
}
