// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// peerPort is that of the client's ends of the node's own connections.
const peerPort = 5000

// await makes the peer's end of a connected socket, in its network namespace.
func (s *Socket) await() (err error) {
	if !s.Peer.IsValid() {
		return nil
	}
	typ := unix.SOCK_STREAM
	if s.UDP {
		typ = unix.SOCK_DGRAM
	}
	if s.far, err = unix.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err = unix.SetsockoptInt(s.far, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err = unix.Bind(s.far, sockaddr(s.Peer.Addr(), peerPort)); err != nil || s.UDP {
		return err
	}
	return unix.Listen(s.far, 1)
}

// meet completes the connection there.
func (s *Socket) meet() error {
	switch {
	case !s.Peer.IsValid():
		return nil
	case s.UDP:
		return unix.Connect(s.far, sockaddr(s.Addr, port))
	}
	if err := unix.SetsockoptTimeval(s.far, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		return err
	}
	c, err := -1, error(unix.EINTR) // with a limit it is not taken up again after a signal
	for errors.Is(err, unix.EINTR) {
		c, _, err = unix.Accept4(s.far, unix.SOCK_CLOEXEC)
	}
	unix.Close(s.far)
	s.far = max(c, 0)
	return err
}

// patience is how long a packet may be on its way.
const patience = 30 * time.Millisecond

// hears reports whether the node's own connected socket gets what its peer sends.
func (s *Socket) hears() bool {
	if _, err := unix.Write(s.far, []byte("x")); err != nil {
		return false
	}
	p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(p, int(patience.Milliseconds())); n != 1 || err != nil {
		return false
	}
	n, err := unix.Read(s.fd, make([]byte, 64))
	return n == 1 && err == nil
}

// own are the node's own connections that work, also when conntrack has forgotten them. They
// are asked twice: TCP keeps back what follows a packet that was not acknowledged, as where a
// rule drops the answer. And that several times, for a rule may take every other connection.
func (w *World) own() (out []*Socket) {
	for _, s := range w.sockets {
		works := s.Peer.IsValid()
		for range 5 {
			works = works && w.forgets() && s.hears() && s.hears()
		}
		if works {
			out = append(out, s)
		}
	}
	return out
}

// cut are those that a mapping, which is placed now, has taken packets of: with conntrack,
// and when it has forgotten them.
func (w *World) cut(own []*Socket) (out []string) {
	for _, s := range own {
		switch {
		case !s.hears():
			out = append(out, "it takes the packets of "+s.String())
		case w.forgets() && !s.hears():
			out = append(out, "without conntrack it takes the packets of "+s.String())
		}
	}
	return out
}

// forgets empties conntrack.
func (w *World) forgets() bool {
	w.Node.Do(func() { _ = forget() })
	return true
}
