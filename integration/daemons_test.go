// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// startDaemons starts daemons of others on a node, with mounts and PIDs of their own, all of which go
// with the test. The script ends when they are ready. What is returned runs commands beside them.
func startDaemons(t *testing.T, n *lab.Node, script string, args ...string) func(command string) string {
	t.Helper()
	cmd := n.Command(append([]string{"unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private",
		"sh", "-ec", script + "\necho ready; exec sleep infinity"}, args...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	n.Do(func() {
		if err == nil {
			err = cmd.Start()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("not started: %v\n%s", err, &said)
	}
	child, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return func(command string) string {
		t.Helper()
		return n.Run("nsenter", "--target", strings.TrimSpace(string(child)), "--mount", "--pid", "--net", "sh", "-ec", command)
	}
}
