// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

// A script collects what the plugin says.
type script struct {
	*golden.Messages
	*bench
	t *testing.T
	// stderr takes the warnings, dir is a directory of this test.
	stderr *strings.Builder
	dir    string
}

// Each message is provoked, and kept as kubectl describe pod shows it behind the
// words of the kubelet and of the container runtime.
func TestMessages(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "portguard") // /proc/locks knows the inodes of tmpfs
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var stderr strings.Builder
	b := newBench(t)
	b.Stderr = &stderr
	s := &script{golden.New(t, dir, "DIR", fmt.Sprintf(", pid %d has it", os.Getpid()), ", pid 4711 has it", b.node.proc, "/proc"), b, t, &stderr, dir}
	s.configurations()
	s.requests()
	s.collections()
	s.lives()
	s.namespaces()
	s.directories()
	s.backends()
	s.localhosts()
	s.heirs()
	s.healing()
	s.changesFail()
	s.checks()
	s.others()
	s.Check(*update)
}

// err adds an error as the plugin returns it, warned the warnings since the last time.
func (s *script) err(err error, code uint) {
	s.t.Helper()
	var e *types.Error
	if !errors.As(cniError(err, code), &e) {
		s.t.Errorf("error is %v", err)
		return
	}
	// On a busy machine a process waits for longer than it was told to.
	s.Add(fmt.Sprint(e.Code), regexp.MustCompile(`waited [0-9]+ms`).ReplaceAllString(e.Msg, "waited 10ms"))
}

func (s *script) warned() {
	s.t.Helper()
	if s.stderr.Len() == 0 {
		s.t.Error("no warning")
	}
	for line := range strings.Lines(s.stderr.String()) {
		label, text, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "portguard: "), "\n"), ": ")
		if !ok || label != "warning" {
			s.t.Errorf("%q is no warning", line)
		}
		s.Add(label, text)
	}
	s.stderr.Reset()
}

func (s *script) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
	return path
}

const (
	confHead = `{"cniVersion":"1.0.0","name":"net","type":"portguard"`
	confPrev = `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"192.0.2.9/24","interface":0}]}`
)

func portOf(more string) string {
	return `,"runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":8080` + more + `}]}`
}

// others are errors whose kind says what to do, and more than one conflict.
func (s *script) others() {
	s.Section("what the kernel refuses: what to do next, by its reason")
	for _, errno := range []error{unix.EPERM, unix.EACCES, unix.ENOMEM, unix.ENOBUFS, unix.EBUSY, unix.EAGAIN, unix.ENODEV} {
		s.err(fmt.Errorf("could not read the addresses of the node: %w", errno), CodeUnreadable)
	}
	s.err(fmt.Errorf("could not set route_localnet of cni0 to 1: %w", unix.EROFS), CodeApply)
	s.Section("more than one conflict: the others are behind the first")
	err := refusal([]conflict.Finding{{Kind: finding.Listener, Message: "hostPort 80/tcp is taken"}, {Kind: finding.Claimed, Message: "hostPort 81/tcp is taken"},
		{Kind: finding.Claimed, Message: "hostPort 82/tcp is taken"}})
	s.Add("100", err.Error())
}

// Nothing that others have chosen gets out as it is, whatever way.
func TestNothingRawGetsOut(t *testing.T) {
	const evil = "a\x1b[2J\x1b]0;x\a\nb\u202e"
	for _, err := range []error{
		cniError(errors.New(evil), CodeApply), newError(1, evil, evil, evil), badNetns(errors.New(evil)),
		refusal([]conflict.Finding{{Message: evil}, {Message: evil + "x"}}), notAsInstalled(hostport.Owner{PodName: evil}, []fault{{evil, evil}, {what: evil}}),
	} {
		if hostport.Plain(err.Error()) != err.Error() {
			t.Errorf("%q", err)
		}
	}
	var stderr strings.Builder
	New(nil, nil, &stderr).warn(evil)
	if want := "portguard: warning: a\uFFFD[2J\uFFFD]0;x\uFFFD; b\uFFFD\n"; stderr.String() != want {
		t.Errorf("%q, want %q", stderr.String(), want)
	}
}
