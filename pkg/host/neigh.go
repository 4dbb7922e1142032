// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// neighbour is an entry of a link, nil if there is none.
func (n *namespace) neighbour(link int, a netip.Addr) *netlink.Neigh {
	if !a.IsValid() {
		return nil
	}
	family := familyOf(a)
	all, known := n.neighbours[family]
	if !known {
		all, _ = Complete(func() ([]netlink.Neigh, error) { return n.NeighList(0, family) })
		n.neighbours[family] = all
	}
	i := slices.IndexFunc(all, func(x netlink.Neigh) bool {
		ip, _ := netip.AddrFromSlice(x.IP)
		return x.LinkIndex == link && ip.Unmap() == a
	})
	if i < 0 {
		return nil
	}
	return &all[i]
}

func familyOf(a netip.Addr) int {
	return map[bool]int{true: netlink.FAMILY_V4, false: netlink.FAMILY_V6}[a.Is4()]
}

// How long an answer is waited for, which comes at once on a link of one machine; how long if
// many were waited for in vain; and how many are that.
const (
	answers     = 300 * time.Millisecond
	answersSoon = 20 * time.Millisecond
	enough      = 2 * time.Second
)

// silent reports whether nobody answers for an entry. One that failed may have done so long ago:
// the kernel keeps it, and asks again when there is a packet. So it is told to ask now.
func (n *namespace) silent(x *netlink.Neigh) bool {
	const undecided = unix.NUD_FAILED | unix.NUD_INCOMPLETE
	if x.State&undecided == 0 {
		return false
	}
	if n.NeighSet(&netlink.Neigh{LinkIndex: x.LinkIndex, Family: x.Family, IP: x.IP, Flags: netlink.NTF_USE}) != nil {
		return false
	}
	patience := answers
	if n.waited > enough {
		patience = answersSoon
	}
	for step := time.Millisecond; patience > 0; step *= 2 {
		time.Sleep(step)
		patience -= step
		n.waited += step
		all, err := n.NeighList(x.LinkIndex, x.Family)
		i := slices.IndexFunc(all, func(o netlink.Neigh) bool { return o.LinkIndex == x.LinkIndex && o.IP.Equal(x.IP) })
		if err != nil || i < 0 {
			return false
		}
		if *x = all[i]; x.State&undecided == 0 {
			return false
		}
	}
	return true
}
