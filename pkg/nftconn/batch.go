// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// Apply sends a batch. What the kernel puts off (EAGAIN, EBUSY, EINTR) is tried again for
// a moment.
func (c *Conn) Apply(b *nft.Batch) error { return c.transact(b, true) }

// Try is Apply that commits nothing: the kernel checks the batch and drops it.
func (c *Conn) Try(b *nft.Batch) error { return c.transact(b, false) }

// Allowed reports why the kernel would not let the caller change rules: with nf_tables or
// without, it asks first for CAP_NET_ADMIN over the network namespace (nfnetlink_rcv).
func (c *Conn) Allowed() error {
	b := &nft.Batch{}
	b.CreateTable(nft.Table{Family: nft.Inet, Name: "portguard-try"})
	if err := c.Try(b); errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

func (c *Conn) transact(b *nft.Batch, commit bool) (err error) {
	if b.Empty() {
		return nil
	}
	for range maxTries {
		err = c.send(b, commit)
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
func (c *Conn) send(b *nft.Batch, commit bool) (err error) {
	if err := c.open(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if commit {
		c.ignore()
	}
	buf := b.Encode(commit)
	// A transaction is one message to the socket, however long it is.
	if err := resize(c.fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, 2*len(buf)+4096); err != nil {
		return err
	}
	err = unix.Sendto(c.fd, buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if errors.Is(err, unix.EMSGSIZE) {
		return fmt.Errorf("a transaction of %d bytes is more than this user namespace may send (net.core.wmem_max): %w", len(buf), err)
	}
	if err != nil {
		return err
	}
	return await(c.fd, b)
}

// resize makes a buffer of a socket large: larger than the machine's limit if the caller
// has CAP_NET_ADMIN over the machine, which root in a user namespace has not.
func resize(fd, force, limited, size int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, limited, size)
	}
	return err
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
