// SPDX-License-Identifier: Apache-2.0

package state

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCounters(t *testing.T) {
	s := created(t)
	fresh := Counters{BootID: "a", Refusals: map[string]uint64{}, Conflicts: map[string]uint64{}}
	if diff := cmp.Diff(fresh, s.Counters("a")); diff != "" {
		t.Errorf("before the first (-want +got)\n%s", diff)
	}
	c := s.Counters("a")
	c.Refusals["listener"]++
	c.Conflicts["nodePort"] += 2
	if err := s.Count(c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, s.Counters("a")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := s.Counters("b"); len(got.Refusals) > 0 || got.BootID != "b" {
		t.Errorf("they survive a boot: %+v", got)
	}
	if s.Keys() != nil {
		t.Error("counters are taken for a record")
	}
	for _, broken := range []string{"", "{", `{"bootID":"a"}`, "[]"} {
		write(t, s.counters(), broken)
		if diff := cmp.Diff(fresh, s.Counters("a")); diff != "" {
			t.Errorf("%q (-want +got)\n%s", broken, diff)
		}
	}
	if err := store(t).Count(c); err == nil {
		t.Error("counters were written nowhere")
	}
}

func TestLoose(t *testing.T) {
	s := created(t)
	if got := s.Loose(); got != "" {
		t.Errorf("a directory of our own: %q", got)
	}
	if got := store(t).Loose(); got != "" {
		t.Errorf("none: %q", got)
	}
	if err := os.Chmod(s.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if got := s.Loose(); !strings.Contains(got, "writable for others (mode 0777)") {
		t.Errorf("got %q", got)
	}
}

func TestCouldWrite(t *testing.T) {
	s := created(t)
	if err := s.CouldWrite(); err != nil {
		t.Error(err)
	}
	if err := Open(s.dir + "/not/yet/there").CouldWrite(); err != nil {
		t.Errorf("a directory that can be made: %v", err)
	}
	if err := Open("/proc/1/portguard").CouldWrite(); err == nil {
		t.Error("/proc is writable")
	}
}
