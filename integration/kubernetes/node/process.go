// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A process is one of the programs.
type process struct {
	name   string
	cmd    *exec.Cmd
	onNode bool // then cmd is nsenter, and the program its child
	ended  chan struct{}
}

// start starts a program whose output goes to a log of its name.
func (n *Node) start(name string, onNode bool, cmd *exec.Cmd) error {
	log, err := os.OpenFile(filepath.Join(n.Logs, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "GOGC=400") // there is more memory than time
	p := &process{name: name, cmd: cmd, onNode: onNode, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait(); close(p.ended) }()
	n.procs[name] = p
	return nil
}

// here starts a program of the control plane.
func (n *Node) here(name string, args ...string) error {
	return n.start(name, false, exec.Command(args[0], args[1:]...))
}

// there starts a program of the node.
func (n *Node) there(name string, args ...string) error {
	return n.start(name, true, n.Command(args...))
}

// ready waits until a program does what it is for. One that has ended never will.
func (n *Node) ready(ctx context.Context, name string, is func() bool) error {
	p := n.procs[name]
	err := Until(ctx, name, func() bool { return p.over() || is() })
	if err == nil && p.over() {
		err = fmt.Errorf("%s has ended", name)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(filepath.Join(n.Logs, name+".log")))
	}
	return nil
}

// Freeze keeps a program of the control plane from running while f does: it answers nobody.
func (n *Node) Freeze(name string, f func()) error {
	process := n.procs[name].cmd.Process
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freeze %s: %w", name, err)
	}
	defer func() { _ = process.Signal(syscall.SIGCONT) }()
	f()
	return nil
}

// Signal sends a signal to a program by its name, and waits for its end.
func (n *Node) Signal(name string, sig syscall.Signal) error {
	p := n.procs[name]
	if p == nil {
		return fmt.Errorf("%s does not run", name)
	}
	pid := p.cmd.Process.Pid
	if p.onNode {
		pid = child(pid)
	}
	if pid == 0 {
		return fmt.Errorf("%s has no process", name)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("signal %s: %w", name, err)
	}
	p.wait()
	delete(n.procs, name)
	return nil
}

// wait waits for the end. What was told to end and does not is killed.
func (p *process) wait() {
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// tail is the end of a log.
func tail(path string) string {
	b, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
