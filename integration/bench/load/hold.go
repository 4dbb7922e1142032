// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"
)

// run opens the sockets, says so, and waits for the end of in.
func (h *Hold) run(in io.Reader, out io.Writer) error {
	if err := enter(h.Namespace); err != nil {
		return err
	}
	for i := range h.Listeners {
		if _, err := (Cell{Client: h.Namespace, Server: h.Namespace, To: "0.0.0.0:0", Port: h.Port + uint16(i)}).listen(); err != nil {
			return err
		}
	}
	if h.Connections > 0 {
		if err := h.connect(); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "ready")
	_, err := io.Copy(io.Discard, in)
	return err
}

// connect opens the connections.
func (h *Hold) connect() error {
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), h.Port)
	c := Cell{Client: h.Namespace, Server: h.Namespace, To: to.String(), Port: h.Port}
	l, err := c.listen()
	if err != nil {
		return err
	}
	for range h.Connections {
		fd, err := c.socket(to.Addr())
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, sockaddr(to)); err != nil {
			return fmt.Errorf("connect to %s: %w", to, err)
		}
		if _, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC); err != nil {
			return fmt.Errorf("accept on %s: %w", to, err)
		}
	}
	return unix.Close(l) // nobody listens: only the connections stay
}
