// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The listeners of the held connections: one has room for the source ports of
// perListener.
const (
	firstListener = 7000
	perListener   = 5000
)

// run opens the connections, says so, and waits for the end of in.
func (h *Hold) run(in io.Reader, out io.Writer) error {
	limit := uint64(h.Sockets) + 1000
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		return fmt.Errorf("ask for %d files: %w", limit, err)
	}
	if err := enter(h.Namespace); err != nil {
		return err
	}
	for i := 0; i < h.Sockets/2; i += perListener {
		if err := h.connections(firstListener+i/perListener, min(perListener, h.Sockets/2-i)); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "ready")
	_, err := io.Copy(io.Discard, in)
	return err
}

// connections opens some to one port; both ends are in the namespace.
func (h *Hold) connections(port, count int) error {
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	c := Cell{Client: h.Namespace, Server: h.Namespace, To: to.String(), Port: to.Port()}
	l, err := c.listen()
	if err != nil {
		return err
	}
	defer unix.Close(l)
	for range count {
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
	return nil
}
