// SPDX-License-Identifier: Apache-2.0

package process

import (
	"os"
	"runtime"
	"testing"
)

func TestRunAndTrace(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Our own memory is much more than that of a shell.
	ours := make([]byte, 64<<20)
	for i := range ours {
		ours[i] = 1
	}
	c := Command{Path: "/bin/sh", Env: os.Environ(), Input: "true; (exit 0); ls / >/dev/null; cat /dev/null | cat; echo done; exit 3"}
	r, err := c.Run()
	if err != nil || r.Output != "done\n" || r.Code != 3 || r.Took <= 0 {
		t.Errorf("Run: %+v, %v", r, err)
	}
	r, cost, err := c.Trace()
	if err != nil || r.Output != "done\n" || r.Code != 3 {
		t.Errorf("Trace: %+v, %v", r, err)
	}
	if cost.Children != 4 || cost.Memory < 500 || cost.Memory > 20<<10 {
		t.Errorf("Trace: %+v, want 4 children of a few MiB (we have %d)", cost, len(ours))
	}
}
