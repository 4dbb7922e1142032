// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/portguard/portguard/pkg/internal/need"
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

// Of ip_local_reserved_ports nothing is written where there is nothing to take away.
func TestFreePorts(t *testing.T) {
	need.Netns(t)
	listed := func() string {
		b, err := os.ReadFile(reservedPorts)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if err := (Ports{}).ReservePorts([]uint16{8080, 40001, 40003}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		free []uint16
		want string
	}{{[]uint16{40002}, "8080,40001,40003\n"}, {[]uint16{40001, 40002}, "8080,40003\n"}, {[]uint16{8080, 40003}, "\n"}, {[]uint16{1}, "\n"}} {
		if err := (Ports{}).FreePorts(tt.free); err != nil || listed() != tt.want {
			t.Errorf("without %v: %q, %v", tt.free, listed(), err)
		}
	}
}
