// SPDX-License-Identifier: Apache-2.0

package run

import (
	"os"
	"strings"
	"testing"
	"time"
)

const sh = "/bin/sh"

func TestRun(t *testing.T) {
	r, err := Run(sh, "in", time.Minute, "-c", "cat; echo out; echo err >&2; exit 3")
	if err != nil || r.Stdout != "inout\n" || r.Stderr != "err\n" {
		t.Errorf("%+v, %v", r, err)
	}
	if said := r.Said(); said != "exit status 3: err" {
		t.Errorf("it said %q", said)
	}
	if r, err = Run(sh, "", time.Minute, "-c", ":"); err != nil || r.Said() != "" {
		t.Errorf("success is %+v, %v", r, err)
	}
	if _, err = Run("/does/not/exist", "", time.Minute); err == nil {
		t.Error("a program that is not there was run")
	}
}

func TestRunEndsWhatHangs(t *testing.T) {
	r, err := Run(sh, "", 50*time.Millisecond, "-c", "exec sleep 60")
	if err != nil || !strings.HasPrefix(r.Said(), "ended by a signal (killed;") {
		t.Errorf("%+v, %v", r, err)
	}
}

// Two run at the same time: each waits for the other.
func TestTwoAtOnce(t *testing.T) {
	dir := t.TempDir()
	meet := func(own, other string) string {
		return "cd " + dir + "; : >" + own + "; while ! test -e " + other + "; do sleep 0.01; done; echo " + own
	}
	open := files(t)
	a, err := Start(sh, "", time.Minute, "-c", meet("a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Start(sh, "", time.Minute, "-c", meet("b", "a"))
	if err != nil {
		t.Fatal(err)
	}
	for want, j := range map[string]*Job{"a\n": a, "b\n": b} {
		if r, err := j.Wait(); err != nil || r.Stdout != want {
			t.Errorf("%+v, %v, want %q", r, err, want)
		}
	}
	if now := files(t); now != open {
		t.Errorf("%d files are open, %d before", now, open)
	}
}

func files(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
