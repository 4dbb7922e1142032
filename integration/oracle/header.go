// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A header is what some packets have beside their ends: how many hops they may go, the class that they
// are of, and the priority that their sender gave them, which only its own hooks see. 0 is what all have.
type header struct {
	hops, class, priority int
}

func (h header) String() string {
	return fmt.Sprintf("hops=%d class=%#x priority=%#x", h.hops, h.class, h.priority)
}

// headers are those that rules ask for, and that no packet has unless it was made so.
func headers(rules string) (out []header) {
	for _, a := range []struct {
		words []string
		header
	}{
		{[]string{"0, 255 }"}, header{hops: 255}},
		{[]string{"ttl 77 ", "hoplimit 77 ", "-eq 77 "}, header{hops: 77}},
		{[]string{"ttl 78 ", "hoplimit 78 ", "-eq 78 "}, header{hops: 78}},
		{[]string{"ip dscp 0x12 ", "ip6 dscp 0x12 ", "--dscp 0x12 "}, header{class: 0x12 << 2}},
		{[]string{"--tos 0x08/"}, header{class: 8}},
		{[]string{"priority 0x10002 "}, header{priority: 0x10002}},
		{[]string{"priority 0x30004 "}, header{priority: 0x30004}},
	} {
		for _, w := range a.words {
			if strings.Contains(rules, w) {
				out = append(out, a.header)
				break
			}
		}
	}
	return out
}

// set has a socket send such packets. The class sets the priority, too.
func (h header) set(fd int, is4 bool) error {
	level, hops, class := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_TOS
	if !is4 {
		level, hops, class = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_TCLASS
	}
	for _, o := range [][3]int{{level, hops, h.hops}, {level, class, h.class}, {unix.SOL_SOCKET, unix.SO_PRIORITY, h.priority}} {
		if o[2] == 0 {
			continue
		}
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return err
		}
	}
	return nil
}

// bulky reports whether the packets are long by what they carry.
func (p *Probe) bulky() bool { return p.Long && p.UDP && p.Marked }

// options sets the DSCP of marked packets, makes long ones 40 bytes longer, and lets the socket have any source
// address, also one that is not ours.
func (p *Probe) options(fd int) (err error) {
	is4 := p.Src.Is4()
	h := p.Header
	if p.Marked {
		h.class = 8 << 2
	}
	switch err = h.set(fd, is4); {
	case err != nil:
		return err
	case p.bulky():
	case p.Long && is4: // 40 times "no operation"
		err = unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, strings.Repeat("\x01", 40))
	case p.Long: // a header for the destination, padded (PadN)
		err = unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, "\x00\x04\x01\x24"+strings.Repeat("\x00", 36))
	}
	if err != nil {
		return err
	}
	if is4 {
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
	}
	return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
}
