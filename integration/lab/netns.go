// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
)

// A T is what lab needs of a test; the demo has one too.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

// A Netns is a network namespace of the lab.
type Netns struct {
	T    T
	Name string
	Path string
	// Env is the environment of commands; nil is the process's own.
	Env []string
}

// NewNetns makes a namespace that is removed with the test.
func NewNetns(t T, role string) *Netns {
	t.Helper()
	name := "pg-" + role + "-" + strings.ToLower(rand.Text()[:8])
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v: %s (the tests need root)", err, out)
	}
	return Existing(t, name)
}

// Existing is a namespace that is there already. It is removed with the test.
func Existing(t T, name string) *Netns {
	t.Helper()
	n := &Netns{T: t, Name: name, Path: "/var/run/netns/" + name}
	t.Cleanup(n.Delete)
	// Without this an IPv6 address is unusable for a second or two.
	n.Sysctl("net/ipv6/conf/default/accept_dad", "0")
	n.Sysctl("net/ipv6/conf/all/accept_dad", "0")
	n.Run("ip", "link", "set", "lo", "up")
	return n
}

// Delete removes the namespace; twice is fine.
func (n *Netns) Delete() { _ = exec.Command("ip", "netns", "del", n.Name).Run() }

// Do calls f on a thread inside the namespace. Processes started and sockets
// opened by f belong to it.
func (n *Netns) Do(f func()) {
	n.T.Helper()
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if failed = n.enter(); failed == nil {
			f()
		}
	}()
	<-done
	if failed != nil {
		n.T.Fatalf("enter %s: %v", n.Name, failed)
	}
}

// enter moves the thread and makes sure that it left where it was.
func (n *Netns) enter() error {
	before, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	h, err := netns.GetFromPath(n.Path)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := netns.Set(h); err != nil {
		return err
	}
	here, err := os.Readlink("/proc/thread-self/ns/net")
	if err == nil && here == before {
		err = errors.New("refusing to work in the network namespace of the test itself")
	}
	return err
}

// Command prepares a command; run it within Do. The command is looked up on the
// PATH of n.Env, not on that of the test.
func (n *Netns) Command(args ...string) *exec.Cmd {
	if n.Env == nil {
		return exec.Command(args[0], args[1:]...)
	}
	cmd := exec.Command("/usr/bin/env", args...)
	cmd.Env = n.Env
	return cmd
}

// Try runs a command with input and returns both its outputs.
func (n *Netns) Try(stdin string, args ...string) (string, error) {
	var out []byte
	var err error
	n.Do(func() {
		cmd := n.Command(args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err = cmd.CombinedOutput()
	})
	return string(out), err
}

// Run runs a command that must succeed.
func (n *Netns) Run(args ...string) string {
	n.T.Helper()
	return n.Feed("", args...)
}

// Feed runs a command that must succeed, with input.
func (n *Netns) Feed(stdin string, args ...string) string {
	n.T.Helper()
	out, err := n.Try(stdin, args...)
	if err != nil {
		n.T.Fatalf("%s: %s: %v\n%s", n.Name, strings.Join(args, " "), err, out)
	}
	return out
}

// Sysctl sets a value below /proc/sys.
func (n *Netns) Sysctl(path, value string) {
	n.T.Helper()
	var err error
	n.Do(func() { err = os.WriteFile("/proc/sys/"+path, []byte(value), 0) })
	if err != nil {
		n.T.Fatalf("%s: sysctl %s: %v", n.Name, path, err)
	}
}

// ReadSysctl reads a value below /proc/sys, "" if it is not there.
func (n *Netns) ReadSysctl(path string) string {
	var b []byte
	n.Do(func() { b, _ = os.ReadFile("/proc/sys/" + path) })
	return strings.TrimSpace(string(b))
}
