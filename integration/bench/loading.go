// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"

	"github.com/portguard/portguard/integration/bench/load"
)

// A loader is a process of package load.
type loader struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	b   *bench
}

// load starts one; the answer of a Hold is awaited.
func (b *bench) load(job load.Job) *loader {
	self, err := os.Executable()
	if err != nil {
		b.Fatalf("%v", err)
	}
	l := &loader{cmd: exec.Command(self, load.Word), b: b}
	// Signals of the Go runtime to its own threads would interrupt a connect.
	l.cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1", "GOGC=off")
	l.cmd.Stderr = os.Stderr
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		b.Fatalf("%v", err)
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		b.Fatalf("%v", err)
	}
	l.out = bufio.NewReader(out)
	if err := l.cmd.Start(); err != nil {
		b.Fatalf("%v", err)
	}
	b.Cleanup(func() { _ = l.cmd.Process.Kill(); _ = l.cmd.Wait() })
	if err := json.NewEncoder(l.in).Encode(job); err != nil {
		b.Fatalf("%v", err)
	}
	if job.Hold != nil {
		if line, err := l.out.ReadString('\n'); err != nil {
			b.Fatalf("sockets were not opened: %v %q", err, line)
		}
	}
	return l
}

// figures waits for those.
func (l *loader) figures() load.Figures {
	var f load.Figures
	b, err := io.ReadAll(l.out)
	if err == nil {
		err = l.cmd.Wait()
	}
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(b)).Decode(&f)
	}
	if err != nil {
		l.b.Fatalf("load: %v", err)
	}
	return f
}

// stop ends a Hold.
func (l *loader) stop() {
	l.in.Close()
	if err := l.cmd.Wait(); err != nil {
		l.b.Fatalf("load: %v", err)
	}
}
