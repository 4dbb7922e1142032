// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// A Socket says how a socket is made and bound.
type Socket struct {
	// Network is "tcp4", "tcp6", "udp4", "udp6", "mptcp4" or "mptcp6".
	Network string
	Addr    string
	V6Only  bool
	// Reuse is SO_REUSEPORT and SO_REUSEADDR, Device that of SO_BINDTODEVICE.
	Reuse  bool
	Device string
}

// Open makes the socket, in the namespace of the calling thread.
func (s Socket) Open() (fd int, err error) {
	domain, kind, proto := unix.AF_INET, unix.SOCK_STREAM, 0
	name := s.Network[:len(s.Network)-1]
	if strings.HasSuffix(s.Network, "6") {
		domain = unix.AF_INET6
	}
	switch name {
	case "udp":
		kind = unix.SOCK_DGRAM
	case "mptcp":
		proto = unix.IPPROTO_MPTCP
	}
	if fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC, proto); err != nil {
		return -1, err
	}
	set := func(level, option int, on bool) {
		if on && err == nil {
			err = unix.SetsockoptInt(fd, level, option, 1)
		}
	}
	set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, s.V6Only)
	set(unix.SOL_SOCKET, unix.SO_REUSEPORT, s.Reuse)
	set(unix.SOL_SOCKET, unix.SO_REUSEADDR, s.Reuse)
	if s.Device != "" && err == nil {
		err = unix.BindToDevice(fd, s.Device)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Bind binds it.
func (s Socket) Bind(fd, port int) error { return unix.Bind(fd, s.sockaddr(port)) }

func (s Socket) sockaddr(port int) unix.Sockaddr {
	if strings.HasSuffix(s.Network, "4") {
		to := &unix.SockaddrInet4{Port: port}
		if s.Addr != "" {
			to.Addr = netip.MustParseAddr(s.Addr).As4()
		}
		return to
	}
	to := &unix.SockaddrInet6{Port: port}
	if s.Addr == "" {
		return to
	}
	addr := netip.MustParseAddr(s.Addr)
	to.Addr = addr.As16()
	if link, err := net.InterfaceByName(addr.Zone()); err == nil {
		to.ZoneId = uint32(link.Index)
	}
	return to
}

// Bind binds a socket in the namespace and closes it.
func (n *Netns) Bind(s Socket, port int) (err error) {
	n.T.Helper()
	n.Do(func() {
		var fd int
		if fd, err = s.Open(); err == nil {
			err = s.Bind(fd, port)
			unix.Close(fd)
		}
	})
	return err
}
