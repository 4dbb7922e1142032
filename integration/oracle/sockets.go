// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
)

// A Socket is one of the node's on the port: what waits there has the packets.
type Socket struct {
	UDP    bool
	Family int
	Addr   netip.Addr
	V6Only bool
	Device string
	// Peer is set for a connected socket, which has the packets of its peer only.
	Peer netip.AddrPort
	// Waits is set for a connection in TIME_WAIT.
	Waits bool
	fd    int
	// far is the peer's end.
	far int
}

// String tells the socket.
func (s Socket) String() string {
	proto := map[bool]string{false: "tcp", true: "udp"}[s.UDP]
	return fmt.Sprintf("# socket %s %s device=%q v6only=%t peer=%s time-wait=%t", proto, s.Addr, s.Device, s.V6Only, s.Peer, s.Waits)
}

// Sockets draws what listens beside the rules of a seed: mostly nothing, of every kind.
func Sockets(seed uint64) []*Socket {
	r := rand.New(rand.NewPCG(seed, 0x736f636b657473))
	if r.IntN(4) > 0 {
		return nil
	}
	var out []*Socket
	for _, udp := range []bool{false, true} {
		if r.IntN(2) == 0 {
			out = append(out, socket(r, udp))
		}
	}
	return out
}

// socket draws one.
func socket(r *rand.Rand, udp bool) *Socket {
	s := &Socket{UDP: udp, Family: unix.AF_INET, Addr: netip.IPv4Unspecified()}
	switch r.IntN(12) {
	case 0: // all of IPv4
	case 1: // all
		s.Family, s.Addr = unix.AF_INET6, netip.IPv6Unspecified()
	case 2:
		s.Family, s.Addr, s.V6Only = unix.AF_INET6, netip.IPv6Unspecified(), true
	case 3:
		s.Addr = nodeAddrs(true)[r.IntN(2)]
	case 4:
		s.Family, s.Addr = unix.AF_INET6, nodeAddrs(false)[r.IntN(2)]
	case 5:
		s.Family, s.Addr = unix.AF_INET6, netip.AddrFrom16(nodeAddrs(true)[r.IntN(2)].As16()) // v4-mapped
	case 6:
		s.Addr = loopback(true)
	case 7:
		s.Family, s.Addr = unix.AF_INET6, loopback(false)
	case 8:
		s.Device = sides()[r.IntN(2)].link
	case 9:
		s.Family, s.Addr, s.Device = unix.AF_INET6, netip.IPv6Unspecified(), sides()[r.IntN(2)].link
	case 10:
		s.Addr, s.Peer = nodeAddrs(true)[0], netip.AddrPortFrom(peerAddrs(true)[0], peerPort)
	case 11:
		s.Addr, s.Waits = nodeAddrs(true)[0], !udp
	}
	return s
}

// waits reports whether the socket receives what nobody has a connection for.
func (s *Socket) waits() bool { return !s.Peer.IsValid() && !s.Waits }

// open makes the socket in the network namespace of the calling thread.
func (s *Socket) open() (err error) {
	typ := unix.SOCK_STREAM
	if s.UDP {
		typ = unix.SOCK_DGRAM
	}
	if s.fd, err = unix.Socket(s.Family, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	err = errors.Join(unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)) // room for all probes
	if s.Family == unix.AF_INET6 {
		err = errors.Join(err, unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, map[bool]int{true: 1}[s.V6Only]))
	}
	if s.Device != "" {
		err = errors.Join(err, unix.BindToDevice(s.fd, s.Device))
	}
	at := sockaddr(s.Addr, port)
	if s.Family == unix.AF_INET6 {
		at = &unix.SockaddrInet6{Addr: s.Addr.As16(), Port: port}
	}
	if err = errors.Join(err, unix.Bind(s.fd, at)); err != nil {
		return err
	}
	switch {
	case s.Waits:
		return s.end()
	case s.Peer.IsValid() && s.UDP:
		return unix.Connect(s.fd, sockaddr(s.Peer.Addr(), int(s.Peer.Port())))
	case s.Peer.IsValid(): // its own end of a connection, which it closes never
		if err := unix.Connect(s.fd, sockaddr(s.Peer.Addr(), int(s.Peer.Port()))); err != unix.EINPROGRESS {
			return err
		}
		return nil
	case s.UDP:
		return nil
	}
	return unix.Listen(s.fd, 512)
}

// end lets a connection with itself end at this end.
func (s *Socket) end() error {
	if err := unix.Listen(s.fd, 1); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(c)
	if err := unix.Connect(c, sockaddr(s.Addr, port)); err != nil {
		return err
	}
	a, _, err := unix.Accept(s.fd)
	if err != nil {
		return err
	}
	unix.Close(a) // the one that closes first waits
	s.close()
	return nil
}

func (s *Socket) close() {
	for _, fd := range []*int{&s.fd, &s.far} {
		if *fd > 0 {
			unix.Close(*fd)
			*fd = 0
		}
	}
}

// received are the source ports of what came.
func (s *Socket) received() (out []uint16, err error) {
	if !s.waits() {
		return nil, nil
	}
	for {
		var from unix.Sockaddr
		if s.UDP {
			_, from, err = unix.Recvfrom(s.fd, make([]byte, 64), 0)
		} else {
			var c int
			if c, from, err = unix.Accept(s.fd); err == nil {
				unix.Close(c)
			}
		}
		switch {
		case errors.Is(err, unix.EAGAIN):
			return out, nil
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
			continue
		case err != nil:
			return nil, err
		}
		switch a := from.(type) {
		case *unix.SockaddrInet4:
			out = append(out, uint16(a.Port))
		case *unix.SockaddrInet6:
			out = append(out, uint16(a.Port))
		}
	}
}

// handshakes are the source ports of those who a socket on the port has answered, and who did
// not get that: a rule may drop it. They are of the calling thread's namespace.
func handshakes() (out []uint16, err error) {
	const synRecv = 3
	for _, name := range []string{"tcp", "tcp6"} {
		table, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil {
			return nil, err
		}
		_, lines, _ := strings.Cut(string(table), "\n")
		for line := range strings.Lines(lines) {
			var n, local, remote, state int
			var here, there string
			line = strings.ReplaceAll(line, ":", " ")
			if _, err := fmt.Sscanf(line, "%d %s %x %s %x %x", &n, &here, &local, &there, &remote, &state); err != nil {
				return nil, fmt.Errorf("%s: %w", line, err)
			}
			if local == port && state == synRecv {
				out = append(out, uint16(remote))
			}
		}
	}
	return out, nil
}

// receive completes the probes with the sockets that have got them.
func (w *World) receive(t lab.T, all []Probe) {
	t.Helper()
	for _, s := range w.sockets {
		ports, err := s.received()
		if s.waits() && !s.UDP && err == nil {
			var begun []uint16
			w.Node.Do(func() { begun, err = handshakes() })
			ports = append(ports, begun...)
		}
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		for _, n := range ports {
			for i, p := range all {
				if p.srcPort == n && p.UDP == s.UDP {
					all[i].Received = true
				}
			}
		}
	}
}

// wait opens the sockets, and a server for TCP if there is none among them and rules do not
// ask for it.
func (w *World) wait(t lab.T, sockets []*Socket, server bool) {
	t.Helper()
	w.hush()
	w.sockets = sockets
	for _, s := range sockets {
		server = server && s.UDP
		err := w.open(s)
		for range 2 { // an old connection with these ports may refuse a new one
			if errors.Is(err, unix.EAGAIN) {
				s.close()
				err = w.open(s)
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if server {
		// Connections are answered, so that later packets of them meet the rules too.
		w.server = w.Node.ServeTCP("tcp", fmt.Sprintf(":%d", port), "server")
	}
}

// open opens a socket, and what it is connected to.
func (w *World) open(s *Socket) error {
	var err1, err2, err3 error
	w.Client.Do(func() { err1 = s.await() })
	w.Node.Do(func() { err2 = s.open() })
	w.Client.Do(func() { err3 = s.meet() })
	return errors.Join(err1, err2, err3)
}

// hush closes them.
func (w *World) hush() {
	for _, s := range w.sockets {
		s.close()
	}
	w.sockets = nil
	if w.server != nil {
		w.server.Close()
		w.server = nil
	}
}
