// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/bench/stats"
)

// The first flows of a turn find cold caches and are not counted. Source ports go
// up from firstPort, so that no flow is one that conntrack still knows.
const (
	warmUp    = 20
	firstPort = 2000
)

func (f *Flows) run() (Figures, error) {
	figures := make(Figures, len(f.Cells))
	port := make([]int, len(f.Cells))
	for range f.Rounds {
		for _, i := range rand.Perm(len(f.Cells)) { // none is always behind the same one
			c := f.Cells[i]
			series, err := c.turn(f.Count, &port[i])
			if err != nil {
				return nil, fmt.Errorf("from %s to %s (udp: %t): %w", c.Client, c.To, c.UDP, err)
			}
			figures[i] = append(figures[i], stats.Of(series).Median)
		}
	}
	return figures, nil
}

// turn makes count flows and returns how long each took.
func (c Cell) turn(count int, port *int) ([]float64, error) {
	server, err := c.listen()
	if err != nil {
		return nil, err
	}
	defer unix.Close(server)
	if err := enter(c.Client); err != nil {
		return nil, err
	}
	to := netip.MustParseAddrPort(c.To)
	open := c.connection
	if c.UDP {
		open = c.datagram
	}
	var series []float64
	for i := range count + warmUp {
		took, err := open(server, to, uint16(firstPort+*port%60000))
		if err != nil {
			return nil, err
		}
		if *port++; i >= warmUp {
			series = append(series, float64(took.Nanoseconds())/1000)
		}
	}
	return series, nil
}

// client makes a socket with a source port.
func (c Cell) client(to netip.Addr, port uint16) (int, error) {
	fd, err := c.socket(to)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(unspecified(to), port))); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind to port %d: %w", port, err)
	}
	return fd, nil
}

// connection times a connect.
func (c Cell) connection(server int, to netip.AddrPort, port uint16) (time.Duration, error) {
	fd, err := c.client(to.Addr(), port)
	if err != nil {
		return 0, err
	}
	defer reset(fd)
	addr := sockaddr(to)
	start := time.Now()
	err = unix.Connect(fd, addr)
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	peer, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("accept: %w", err)
	}
	reset(peer)
	return took, nil
}

// datagram times a flow's first packet, until the server has read it.
func (c Cell) datagram(server int, to netip.AddrPort, port uint16) (time.Duration, error) {
	fd, err := c.client(to.Addr(), port)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	b := make([]byte, 64)
	start := time.Now()
	if _, err = unix.Write(fd, b[:16]); err == nil {
		_, err = unix.Read(server, b)
	}
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("send and receive: %w", err)
	}
	return took, nil
}
