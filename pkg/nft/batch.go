// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Batch is a transaction: the kernel does all of it or nothing.
//
// google/nftables has no such thing as the exclusive creation of an element and
// does not let others add to its batch; therefore the messages are written here.
type Batch struct {
	msgs []message
}

type message struct {
	typ, flags uint16
	family     uint8
	attrs      Attrs
	what       string
}

// Requests that change something.
const (
	newTable   = 0
	delTable   = 2
	newChain   = 3
	delChain   = 5
	newRule    = 6
	delRule    = 8
	newSet     = 9
	newSetElem = 12
	delSetElem = 14

	batchBegin = 0x10
	batchEnd   = 0x11
)

// ErrExists means that something was there already that had to be new.
var ErrExists = errors.New("it is there already")

// A BatchError says which request of a batch failed.
type BatchError struct {
	What string
	Err  error
}

func (e *BatchError) Error() string {
	return fmt.Sprintf("could not change nftables: %s: %v", e.What, e.Err)
}

// Unwrap returns the kernel's error; ErrExists for EEXIST.
func (e *BatchError) Unwrap() error { return e.Err }

func (b *Batch) add(typ, flags uint16, t Table, a Attrs, format string, args ...any) {
	b.msgs = append(b.msgs, message{typ, flags, t.Family, a, fmt.Sprintf(format, args...) + " of table " + t.String()})
}

// Empty reports whether the batch asks for nothing.
func (b *Batch) Empty() bool { return len(b.msgs) == 0 }

// ElementsOnly reports whether the batch changes elements of sets, and nothing else.
func (b *Batch) ElementsOnly() bool {
	other := func(m message) bool { return m.typ != newSetElem && m.typ != delSetElem }
	return !b.Empty() && !slices.ContainsFunc(b.msgs, other)
}

// Apply sends the batch, in the calling thread's network namespace. What the kernel
// puts off (EAGAIN, EBUSY, EINTR) is tried again for a moment.
func (b *Batch) Apply() (err error) {
	if b.Empty() {
		return nil
	}
	for range maxTries {
		err = b.send()
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EINTR) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	var of *BatchError
	if err != nil && !errors.As(err, &of) {
		err = fmt.Errorf("could not change nftables: %w", err)
	}
	return err
}

func (b *Batch) send() error {
	// The socket stays open: closing it waits until the kernel has let go of what
	// was removed, a grace period of RCU, and the caller has more to do meanwhile.
	c := newConn()
	if err := c.open(); err != nil {
		return err
	}
	buf := b.encode()
	// A transaction is one message to the socket, however long it is.
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(buf)+4096); err != nil {
		return err
	}
	if err := unix.Sendto(c.fd, buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	err := b.answer(c.fd)
	runtime.KeepAlive(c)
	return err
}

// encode writes the messages; their sequence numbers are their places, from 1.
// Only the last one asks to be acknowledged: errors come unasked.
func (b *Batch) encode() []byte {
	out := header(nil, batchBegin, unix.NLM_F_REQUEST, 0, 0, subsys)
	for i, m := range b.msgs {
		flags := m.flags | unix.NLM_F_REQUEST
		if i+1 == len(b.msgs) {
			flags |= unix.NLM_F_ACK
		}
		start := len(out)
		out = header(out, subsys<<8|m.typ, flags, uint32(i+1), m.family, 0)
		out = append(out, m.attrs...)
		binary.NativeEndian.PutUint32(out[start:], uint32(len(out)-start))
	}
	return header(out, batchEnd, unix.NLM_F_REQUEST, uint32(len(b.msgs)+1), 0, subsys)
}

// header appends a netlink header and struct nfgenmsg, whose last field is in
// network order.
func header(b []byte, typ, flags uint16, seq uint32, family uint8, res uint16) []byte {
	b = binary.NativeEndian.AppendUint32(b, unix.NLMSG_HDRLEN+nfgenmsgLen)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, family, unix.NFNETLINK_V0)
	return binary.BigEndian.AppendUint16(b, res)
}

// answer reads until the acknowledgement of the last message or an error.
func (b *Batch) answer(fd int) error {
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
				return b.failure(int(m.Header.Seq), err)
			}
			if int(m.Header.Seq) == len(b.msgs) {
				return nil
			}
		}
	}
}

func (b *Batch) failure(seq int, err error) error {
	what := "the transaction"
	if seq >= 1 && seq <= len(b.msgs) {
		what = b.msgs[seq-1].what
	}
	if errors.Is(err, unix.EEXIST) {
		err = fmt.Errorf("%w (%w)", ErrExists, err)
	}
	return &BatchError{What: what, Err: err}
}
