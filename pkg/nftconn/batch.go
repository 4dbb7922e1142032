// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// Apply sends a batch. What the kernel puts off (EAGAIN, EBUSY, EINTR) is tried again for
// a moment.
func (c *Conn) Apply(b *nft.Batch) (err error) {
	if b.Empty() {
		return nil
	}
	for range maxTries {
		err = c.send(b)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EINTR) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		err = fmt.Errorf("could not change nftables: %w", err)
	}
	return err
}

// send leaves the socket open: closing it waits until the kernel has let go of what was
// removed, a grace period of RCU, and the caller has more to do meanwhile. After a failure
// it is closed, because the errors of other messages may follow.
func (c *Conn) send(b *nft.Batch) (err error) {
	if err := c.open(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	buf := b.Encode()
	// A transaction is one message to the socket, however long it is.
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(buf)+4096); err != nil {
		return err
	}
	if err := unix.Sendto(c.fd, buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	return await(c.fd, b)
}

// await reads until the acknowledgement of the last message or an error.
func await(fd int, b *nft.Batch) error {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue // it may have been done
		}
		if err != nil {
			return fmt.Errorf("no answer from the kernel: %w", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return err
		}
		for _, m := range msgs {
			if m.Header.Type != unix.NLMSG_ERROR {
				continue
			}
			if err := doneError(m.Data); err != nil {
				return b.Failure(int(m.Header.Seq), err)
			}
			if int(m.Header.Seq) == b.Len() {
				return nil
			}
		}
	}
}
