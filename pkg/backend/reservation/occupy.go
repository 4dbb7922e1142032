// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend/reservation/holds"
	"github.com/portguard/portguard/pkg/hostport"
)

// occupy binds a socket as nobody can beside another one: with neither SO_REUSEADDR nor
// SO_REUSEPORT.
func occupy(s holds.Slot) (fd int, err error) {
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
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
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
