// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A pipe is an established connection.
type pipe struct{ client, server int }

func (b *Bulk) run() (Figures, error) {
	pipes := make([]pipe, len(b.Cells))
	for i, c := range b.Cells {
		var err error
		if pipes[i], err = c.pipe(); err != nil {
			return nil, fmt.Errorf("from %s to %s: %w", c.Client, c.To, err)
		}
	}
	figures := make(Figures, len(b.Cells))
	for range b.Rounds {
		for i, p := range pipes {
			start := time.Now()
			if err := p.transfer(b.MiB << 20); err != nil {
				return nil, fmt.Errorf("to %s: %w", b.Cells[i].To, err)
			}
			figures[i] = append(figures[i], float64(b.MiB)/time.Since(start).Seconds())
		}
	}
	return figures, nil
}

// pipe connects; from then on nothing blocks.
func (c Cell) pipe() (pipe, error) {
	l, err := c.listen()
	if err != nil {
		return pipe{}, err
	}
	defer unix.Close(l)
	if err := enter(c.Client); err != nil {
		return pipe{}, err
	}
	to := netip.MustParseAddrPort(c.To)
	fd, err := c.socket(to.Addr())
	if err != nil {
		return pipe{}, err
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		return pipe{}, fmt.Errorf("connect: %w", err)
	}
	peer, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return pipe{}, fmt.Errorf("accept: %w", err)
	}
	return pipe{fd, peer}, unix.SetNonblock(fd, true)
}

// transfer writes and reads in turn, until so many bytes have arrived.
func (p pipe) transfer(bytes int) error {
	b := make([]byte, 64<<10)
	for sent, got := 0, 0; got < bytes; {
		moved := false
		if sent < bytes {
			n, err := unix.Write(p.client, b[:min(len(b), bytes-sent)])
			if err != nil && !errors.Is(err, unix.EAGAIN) {
				return err
			}
			sent, moved = sent+max(n, 0), n > 0
		}
		n, err := unix.Read(p.server, b)
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			return err
		}
		if got += max(n, 0); n > 0 || moved {
			continue
		}
		if err := p.wait(); err != nil {
			return err
		}
	}
	return nil
}

// wait waits until something can be written or read.
func (p pipe) wait() error {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.client), Events: unix.POLLOUT}, {Fd: int32(p.server), Events: unix.POLLIN}}, patience*1000)
	switch {
	case errors.Is(err, unix.EINTR):
		return nil
	case err == nil && n == 0:
		return errors.New("the connection stands still")
	}
	return err
}
