// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"encoding/binary"
	"errors"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// manyReads bounds a dump: the kernel fills one buffer a read, some hundreds of elements, and
// goes on only when it is asked for more.
const manyReads = 100_000

// maxTries is how often an interrupted dump is asked for again before it is an
// error.
const maxTries = 5

// A Conn is one socket for any number of requests, one after the other: opening,
// binding and closing one costs more than most answers. It must not be shared.
type Conn struct {
	fd  int
	buf []byte // a fresh one for each request would cost its page faults
	// listener is made when somebody wants to hear of changes.
	listener *Listener
}

// Open returns a connection, which is made when something is asked, in the network
// namespace that the calling thread is in then.
func Open() *Conn {
	c := &Conn{fd: -1}
	runtime.SetFinalizer(c, (*Conn).close)
	return c
}

func (c *Conn) open() error {
	if c.fd >= 0 {
		return nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	c.fd = fd
	timeout := unix.Timeval{Sec: 60}
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
}

// close ends a dump that is not read to its end, too.
func (c *Conn) close() {
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
	}
	c.fd = -1
}

// ask sends a request and returns the answers' attributes.
func (c *Conn) ask(msg, flags uint16, family uint8, a nft.Attrs) ([][]byte, error) {
	return c.hear(nft.Request(msg, flags, family, a), all)
}

// one asks for what there is at most once.
func (c *Conn) one(msg uint16, family uint8, a nft.Attrs) (m []byte, there bool, err error) {
	msgs, err := c.ask(msg, unix.NLM_F_ACK, family, a)
	switch {
	case errors.Is(err, unix.ENOENT), err == nil && len(msgs) == 0:
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	return msgs[0], true, nil
}

// hear sends a request and returns the messages that keep wants, in buffers of
// their own.
func (c *Conn) hear(req []byte, keep func(m []byte) bool) (told [][]byte, err error) {
	err = again(func() error {
		told, err = c.once(req, keep)
		return err
	})
	return told, err
}

// once is hear without another try.
func (c *Conn) once(req []byte, keep func(m []byte) bool) (told [][]byte, err error) {
	var mem []byte // each piece is larger than the one before
	err = c.talk(req, func(m []byte) error {
		if !keep(m) {
			return nil
		}
		if cap(mem)-len(mem) < len(m) {
			mem = make([]byte, 0, max(len(m), min(2*cap(mem), len(c.buf))))
		}
		mem = append(mem, m...)
		told = append(told, mem[len(mem)-len(m):len(mem):len(mem)])
		return nil
	})
	return told, err
}

var errEndless = errors.New("the list of the kernel does not end")

func all([]byte) bool { return true }

// again repeats a dump that was interrupted by a change.
func again(f func() error) (err error) {
	for range maxTries {
		if err = f(); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return err
}

// talk sends a request that ends with an acknowledgement or as a dump, and reads until then,
// or until f returns an error. An interrupted dump is EINTR.
func (c *Conn) talk(req []byte, f func(m []byte) error) error {
	if err := c.open(); err != nil {
		return err
	}
	answered := false
	defer func() {
		if !answered {
			c.close()
		}
	}()
	if err := unix.Sendto(c.fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if c.buf == nil {
		c.buf = make([]byte, 1<<15) // the kernel fills no more
	}
	for range manyReads {
		n, _, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_TRUNC) // n is the whole length
		if errors.Is(err, unix.EINTR) {
			continue // a signal, not the dump
		}
		if err == nil && n > len(c.buf) {
			err = nft.ErrCutOff
		}
		if err != nil {
			return err
		}
		if done, err := messages(c.buf[:n], f); done || err != nil {
			answered = done
			return err
		}
	}
	return errEndless
}

// messages goes through what one read brought. Done is set at the end of the dump.
func messages(b []byte, f func(m []byte) error) (done bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return false, nft.ErrCutOff
		}
		typ, flags, data := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:]), b[unix.NLMSG_HDRLEN:n]
		switch {
		case flags&unix.NLM_F_DUMP_INTR != 0:
			return false, unix.EINTR
		case typ == unix.NLMSG_DONE || typ == unix.NLMSG_ERROR:
			return true, doneError(data)
		case len(data) < nft.NfgenmsgLen:
			return false, nft.ErrCutOff
		}
		if err := f(data[nft.NfgenmsgLen:]); err != nil {
			return false, err
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return false, nil
}

// doneError reads the error number in the last message of a dump.
func doneError(b []byte) error {
	if len(b) >= 4 {
		if e := int32(binary.NativeEndian.Uint32(b)); e != 0 {
			return unix.Errno(-e)
		}
	}
	return nil
}
