// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// groupNFTables is NFNLGRP_NFTABLES of include/uapi/linux/netfilter/nfnetlink.h: those who
// listen to nf_tables.
const groupNFTables = 7

// roomForEvents holds those of a synchronisation of kube-proxy with 20,000 rules.
const roomForEvents = 8 << 20

// A Listener is told of every transaction of the network namespace that it was opened in.
type Listener struct {
	fd  int
	buf []byte
	// heard is the generation that the last transaction has made.
	heard uint32
}

// Listener returns the one of the connection, and opens it if there is none. It stays open:
// closing a socket may wait for the kernel to let go of what others removed.
func (c *Conn) Listener() (*Listener, error) {
	if c.listener != nil {
		return c.listener, nil
	}
	l, err := listen()
	if err == nil {
		c.listener = l
		runtime.SetFinalizer(l, (*Listener).close)
	}
	return l, err
}

// Deaf closes the Listener, which has missed something.
func (c *Conn) Deaf() {
	if c.listener != nil {
		c.listener.close()
	}
	c.listener = nil
}

// ignore ends the Listener before a change of our own: the kernel would write a message for
// each element, and nobody reads them. Its socket stays open, as that of the connection.
func (c *Conn) ignore() {
	if c.listener != nil {
		_ = unix.SetsockoptInt(c.listener.fd, unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, groupNFTables)
	}
	c.listener = nil
}

func listen() (*Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	_ = resize(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, roomForEvents) // what does not fit is an error later
	wait := unix.NsecToTimeval(int64(time.Second))
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupNFTables - 1)}))
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &Listener{fd: fd, buf: make([]byte, 1<<15)}, nil
}

func (l *Listener) close() {
	if l.fd >= 0 {
		_ = unix.Close(l.fd)
	}
	l.fd = -1
}

// Until returns the events up to the transaction that has made the rule set of that
// generation. The kernel shows a transaction before it tells of it, so there may be a
// moment to wait. Events that were lost, or do not come, are an error.
func (l *Listener) Until(generation uint32) (events []nft.Event, err error) {
	for l.heard != generation {
		n, _, err := unix.Recvfrom(l.fd, l.buf, unix.MSG_TRUNC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n > len(l.buf) {
			err = nft.ErrCutOff
		}
		if err != nil {
			return nil, err
		}
		more, err := eventsIn(bytes.Clone(l.buf[:n]))
		if err != nil {
			return nil, err
		}
		events = append(events, more...)
		if last := len(more) - 1; last >= 0 && more[last].Type == unix.NFT_MSG_NEWGEN {
			l.heard = more[last].Generation
		}
	}
	return events, nil
}

// eventsIn decodes what one read brought.
func eventsIn(b []byte) (events []nft.Event, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.NLMSG_HDRLEN+nft.NfgenmsgLen || n > len(b) {
			return nil, nft.ErrCutOff
		}
		typ, data := binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:n]
		e, err := nft.DecodeEvent(typ, data[0], data[nft.NfgenmsgLen:])
		if err != nil {
			return nil, err
		}
		events, b = append(events, e), b[min(len(b), (n+3)&^3):]
	}
	return events, nil
}
