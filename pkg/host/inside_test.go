// SPDX-License-Identifier: Apache-2.0

package host

import (
	"testing"

	"github.com/vishvananda/netlink"
)

// What is printed as a command does what it says, whatever a pod calls its links.
func TestCalled(t *testing.T) {
	for name, want := range map[string]string{"eth0": "eth0", "eth0.100@x-y_z": "eth0.100@x-y_z", "$(reboot)": "if7", "a;b": "if7", "-n": "if7", "\x1b[2J": "if7", "ä": "if7", "": "if7"} {
		if got := called(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: name, Index: 7}}); got != want {
			t.Errorf("%q is called %q, want %q", name, got, want)
		}
	}
}
