// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Links may have dots in their names, and a link that is gone is told from other errors.
func TestRouteLocalnetOfALinkThatIsGone(t *testing.T) {
	var s Sysctls
	if _, err := s.RouteLocalnet("no.such.link"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: %v", err)
	}
	if err := s.SetRouteLocalnet("no.such.link", false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("written: %v", err)
	}
	if _, err := s.RouteLocalnet("lo"); err != nil {
		t.Error(err)
	}
}

// A node forwards if any link that is there does: what is said of all and of later ones does
// not count, nor does a link on which a kernel has no such setting.
func TestAnyLink(t *testing.T) {
	dir := t.TempDir()
	set := func(link, name, value string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, link, name), []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"all", "default"} {
		set(link, "forwarding", "1")
	}
	set("eth0", "forwarding", "0")
	set("eth0.100", "other", "1")
	if on, err := anyLink(dir, "forwarding"); on || err != nil {
		t.Errorf("%v %v", on, err)
	}
	set("eth0.100", "forwarding", "1")
	if on, err := anyLink(dir, "forwarding"); !on || err != nil {
		t.Errorf("%v %v", on, err)
	}
	if _, err := anyLink(filepath.Join(dir, "none"), "forwarding"); err == nil {
		t.Error("a directory that is not there was read")
	}
}
