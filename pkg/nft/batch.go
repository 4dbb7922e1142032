// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// A Batch is a transaction: the kernel does all of it or nothing.
//
// google/nftables has no such thing as the exclusive creation of an element and
// does not let others add to its batch; therefore the messages are written here.
type Batch struct {
	msgs []message
	// room is where attributes of elements are written: there may be tens of thousands.
	room []byte
}

type message struct {
	typ, flags uint16
	family     uint8
	attrs      Attrs
	// what it does, for an error.
	what func() string
}

func (b *Batch) add(typ, flags uint16, t Table, a Attrs, format string, args ...any) {
	b.msgs = append(b.msgs, message{typ, flags, t.Family, a, func() string { return fmt.Sprintf(format, args...) + " of table " + t.String() }})
}

// lengthOfElement is that of the attributes of most elements, at most.
const lengthOfElement = 192

// Grow makes room for n more messages, of elements.
func (b *Batch) Grow(n int) {
	b.msgs, b.room = slices.Grow(b.msgs, n), make([]byte, 0, n*lengthOfElement)
}

// Len is the number of messages.
func (b *Batch) Len() int { return len(b.msgs) }

// Empty reports whether the batch asks for nothing.
func (b *Batch) Empty() bool { return len(b.msgs) == 0 }

// Halves are two batches that do the same, one after the other.
func (b *Batch) Halves() (first, second *Batch) {
	n := len(b.msgs) / 2
	return &Batch{msgs: b.msgs[:n]}, &Batch{msgs: b.msgs[n:]}
}

// Encode writes the messages; their sequence numbers are their places, from 1.
// Only the last one asks to be acknowledged: errors come unasked. A batch without its end,
// which commits it, is checked and dropped (nfnetlink_rcv_batch).
func (b *Batch) Encode(commit bool) []byte {
	size := 2 * (unix.NLMSG_HDRLEN + NfgenmsgLen)
	for _, m := range b.msgs {
		size += unix.NLMSG_HDRLEN + NfgenmsgLen + len(m.attrs)
	}
	out := appendMessage(make([]byte, 0, size), unix.NFNL_MSG_BATCH_BEGIN, 0, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil)
	for i, m := range b.msgs {
		if i+1 == len(b.msgs) {
			m.flags |= unix.NLM_F_ACK
		}
		out = appendMessage(out, unix.NFNL_SUBSYS_NFTABLES<<8|m.typ, m.flags, uint32(i+1), m.family, 0, m.attrs)
	}
	if !commit {
		return out
	}
	return appendMessage(out, unix.NFNL_MSG_BATCH_END, 0, uint32(len(b.msgs)+1), 0, unix.NFNL_SUBSYS_NFTABLES, nil)
}

// Request is a message that stands alone.
func Request(typ, flags uint16, family uint8, a Attrs) []byte {
	return appendMessage(nil, unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags, 0, family, 0, a)
}

// NfgenmsgLen is the size of struct nfgenmsg.
const NfgenmsgLen = 4

// appendMessage appends a netlink header, struct nfgenmsg, whose last field is in
// network order, and attributes.
func appendMessage(b []byte, typ, flags uint16, seq uint32, family uint8, res uint16, a Attrs) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.NLMSG_HDRLEN+NfgenmsgLen+len(a)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, family, unix.NFNETLINK_V0)
	return append(binary.BigEndian.AppendUint16(b, res), a...)
}

// Failure is the error of the message with a sequence number.
func (b *Batch) Failure(seq int, err error) error {
	what := "the transaction"
	if seq >= 1 && seq <= len(b.msgs) {
		what = b.msgs[seq-1].what()
	}
	if errors.Is(err, unix.EEXIST) {
		err = fmt.Errorf("it is there already (%w)", err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
