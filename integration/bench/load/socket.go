// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// patience bounds every system call; the ways are a few veths.
const patience = 2 // seconds

// enter moves the thread.
func enter(path string) error {
	h, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer h.Close()
	if err := netns.Set(h); err != nil {
		return fmt.Errorf("enter %s: %w", path, err)
	}
	return nil
}

// socket makes one of the cell's kind that gives up in time.
func (c Cell) socket(to netip.Addr) (int, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if to.Is6() {
		family = unix.AF_INET6
	}
	if c.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	for _, option := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &unix.Timeval{Sec: patience}); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("time limit: %w", err)
		}
	}
	return fd, nil
}

// listen makes the server's socket, of the family of the client's target.
func (c Cell) listen() (int, error) {
	if err := enter(c.Server); err != nil {
		return -1, err
	}
	to, err := netip.ParseAddrPort(c.To)
	if err != nil {
		return -1, err
	}
	fd, err := c.socket(to.Addr())
	if err != nil {
		return -1, err
	}
	// The cells of one server take the same port, one after the other.
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(unspecified(to.Addr()), c.Port)))
	}
	if err == nil && !c.UDP {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen on %d in %s: %w", c.Port, c.Server, err)
	}
	return fd, nil
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// reset makes close end a connection at once, so that nothing of it stays in the
// client's namespace.
func reset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}
