// SPDX-License-Identifier: Apache-2.0

package legacy

import "golang.org/x/sys/unix"

// A layout is where the parts of struct ipt_entry or ip6t_entry are.
type layout struct {
	ipv6                           bool
	addr                           int // the size of an address
	src, dst, srcMask, dstMask     int
	in, out, inMask, outMask       int
	proto, flags, invert           int
	cache                          int // where struct ipt_ip ends
	target, next, packets, matches int
	jumps                          byte // the flag of -g
}

func layoutOf(family uint8) layout {
	if family == unix.NFPROTO_IPV6 {
		return layout{ipv6: true, addr: 16, src: 0, dst: 16, srcMask: 32, dstMask: 48, in: 64, out: 80, inMask: 96, outMask: 112,
			proto: 128, flags: 131, invert: 132, cache: 136, target: 140, next: 142, packets: 152, matches: 168, jumps: 4}
	}
	return layout{addr: 4, src: 0, dst: 4, srcMask: 8, dstMask: 12, in: 16, out: 32, inMask: 48, outMask: 64,
		proto: 80, flags: 82, invert: 83, cache: 84, target: 88, next: 90, packets: 96, matches: 112, jumps: 2}
}
