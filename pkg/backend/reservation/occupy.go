// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend/reservation/holds"
	"github.com/portguard/portguard/pkg/hostport"
)

// occupyFirst occupies the first of some slots, or the first two if one socket can have both:
// most ports are those of both families, and there may be thousands.
func occupyFirst(slots []holds.Slot) (fd, n int, err error) {
	if len(slots) > 1 && slots[0].Wildcard() && slots[1] == (holds.Slot{Proto: slots[0].Proto, Port: slots[0].Port, Addr: netip.IPv6Unspecified()}) {
		if fd, err = occupy(slots[1], 0); err == nil {
			return fd, 2, nil
		}
	}
	fd, err = occupy(slots[0], 1)
	return fd, 1, err
}

// occupy binds a socket as nobody can beside another one: with neither SO_REUSEADDR nor
// SO_REUSEPORT. One of IPv6 has the port of IPv4 too, unless it is for v6only.
func occupy(s holds.Slot, v6only int) (fd int, err error) {
	domain, kind, proto := unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP
	var to unix.Sockaddr
	if s.Addr.Is4() {
		to = &unix.SockaddrInet4{Port: int(s.Port), Addr: s.Addr.As4()}
	} else {
		domain, to = unix.AF_INET6, &unix.SockaddrInet6{Port: int(s.Port), Addr: s.Addr.As16()}
	}
	if s.Proto == hostport.UDP {
		kind, proto = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	}
	if fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC, proto); err != nil {
		return fd, err
	}
	if domain == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only)
	}
	if err == nil && !s.Wildcard() { // the address may come later
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	}
	if err == nil {
		err = unix.Bind(fd, to)
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return fd, err
}
