// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What is printed as a command does what it says, whatever a pod calls its links.
func TestCalled(t *testing.T) {
	for name, want := range map[string]string{"eth0": "eth0", "eth0.100@x-y_z": "eth0.100@x-y_z", "$(reboot)": "if7", "a;b": "if7", "-n": "if7", "\x1b[2J": "if7", "ä": "if7", "": "if7"} {
		if got := called(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: name, Index: 7}}); got != want {
			t.Errorf("%q is called %q, want %q", name, got, want)
		}
	}
}

// What is masqueraded is from an address of the link by which it leaves, and best of one in whose
// network it goes.
func TestSource(t *testing.T) {
	addr := func(link int, cidr string, scope, flags int) netlink.Addr {
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			t.Fatal(err)
		}
		a.LinkIndex, a.Scope, a.Flags = link, scope, flags
		return *a
	}
	n := namespace{addrs: []netlink.Addr{addr(1, "127.0.0.1/8", unix.RT_SCOPE_HOST, 0), addr(2, "192.0.2.1/24", 0, 0), addr(3, "169.254.1.1/16", unix.RT_SCOPE_LINK, 0),
		addr(3, "10.87.0.1/16", 0, 0), addr(3, "10.88.0.9/16", 0, unix.IFA_F_SECONDARY), addr(3, "10.88.0.1/16", 0, 0), addr(3, "fd00:88::1/64", 0, 0)}}
	for to, want := range map[string]string{"10.88.0.2": "10.88.0.1", "10.99.0.2": "10.87.0.1"} {
		if got := n.source(netip.MustParseAddr(to), 3); got.String() != want {
			t.Errorf("what goes to %s is from %s, want %s", to, got, want)
		}
	}
}
