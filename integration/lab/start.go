// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Installed skips a test of a program of others where that is not installed. With a variable
// of the environment set, as the make target for the test sets it, it must be.
func Installed(t *testing.T, program, variable string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv(variable) != "" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
}

// Start starts a command in the namespace, and ends it with the test, or when stop is called.
// What it prints is for the caller to read.
func (n *Netns) Start(cmd *exec.Cmd) (out *bufio.Reader, stop func()) {
	n.T.Helper()
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		n.Do(func() { err = cmd.Start() })
	}
	if err != nil {
		n.T.Fatalf("%s: %v", cmd, err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	n.T.Cleanup(stop)
	return bufio.NewReader(pipe), stop
}

// Apart runs a script with mounts and PIDs of its own, in which all that it starts goes with
// the test. When the script is done, it returns the words before a command that is to run there.
func (n *Netns) Apart(script string, args ...string) (within []string) {
	n.T.Helper()
	cmd := n.Command(append([]string{"unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private",
		"sh", "-ec", script + "\necho ready; exec sleep infinity"}, args...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, _ := n.Start(cmd)
	if line, err := out.ReadString('\n'); line != "ready\n" {
		n.T.Fatalf("the script is not done: %q, %v\n%s", line, err, &said)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	pid := strings.TrimSpace(string(children))
	if err != nil || pid == "" {
		n.T.Fatalf("no child: %v", err)
	}
	return []string{"nsenter", "--target", pid, "--mount", "--pid", "--net"}
}
