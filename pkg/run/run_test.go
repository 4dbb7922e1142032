// SPDX-License-Identifier: Apache-2.0

package run

import (
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

// A child that lives on with the outputs open is not waited for.
func TestAChildThatHoldsOn(t *testing.T) {
	start := time.Now()
	r, err := Run(sh, "", time.Minute, "-c", "sleep 30 & echo out")
	if err != nil || r.Said() != "" || r.Stdout != "out\n" || time.Since(start) > 20*time.Second {
		t.Errorf("%+v, %v after %s", r, err, time.Since(start))
	}
}
