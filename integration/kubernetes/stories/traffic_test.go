// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// patience is how long an answer may take. The way is a few veths.
const patience = time.Second

// client is the network namespace of the tests themselves, which are outside the node.
const client = ""

// onNode is that of the node.
func onNode() string { return the.NetNS() }

// inPod is that of a pod.
func (s *story) inPod(p *corev1.Pod) string {
	s.Helper()
	return fmt.Sprintf("/proc/%d/ns/net", s.processes(p)[0])
}

// processes are the pod's, as the tests see them: the sandbox's first, if it is there.
func (s *story) processes(p *corev1.Pod) (pids []int) {
	s.Helper()
	groups, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, g := range groups {
		b, _ := os.ReadFile(g)
		if !strings.Contains(string(b), "pod"+string(p.UID)) {
			continue
		}
		var pid int
		_, _ = fmt.Sscanf(g, "/proc/%d/", &pid)
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(g), "cmdline"))
		switch words := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"); {
		case len(words) == 1 && words[0] == "/server":
			pids = append([]int{pid}, pids...)
		default:
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		s.Fatalf("pod %s has no process", p.Name)
	}
	return pids
}

// who asks an address from a network namespace and returns "name address-of-the-client"
// as the server saw it, "" if nobody answers.
func (s *story) who(from, network, addr string) string {
	s.Helper()
	var said string
	s.must(within(from, func() { said = get(network, addr) }))
	return said
}

// name is who without the address.
func (s *story) name(from, network, addr string) string {
	s.Helper()
	name, _, _ := strings.Cut(s.who(from, network, addr), " ")
	return name
}

func get(network, addr string) string {
	c, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if strings.HasPrefix(network, "udp") {
		_, _ = c.Write([]byte("who\n"))
	}
	b := make([]byte, 1500)
	k, err := c.Read(b)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[:k]))
}

// within calls f on a thread in a network namespace. Sockets opened by f belong to it.
func within(path string, f func()) (err error) {
	if path == "" {
		f()
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var fd int
		if fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
			return
		}
		defer unix.Close(fd)
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err == nil {
			f()
		}
	}()
	<-done
	return err
}
