// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Memory is what a Reader was told of tables, chains, rules and sets: what only a
// transaction can change. It is true as long as the generation is the same.
// Elements of sets are never in it, packets may add those.
type Memory struct {
	answers map[string][][]byte
}

// Recall lets r answer from m what is in it, instead of asking.
func (r *Reader) Recall(m *Memory) { r.memory = maps.Clone(m.answers) }

// Heard returns all that r was told or recalled, and whether any of it is news.
func (r *Reader) Heard() (m *Memory, news bool) { return &Memory{r.memory}, r.news }

// ask answers from memory, or asks and remembers the messages that keep wants.
func (r *Reader) ask(req *nl.NetlinkRequest, keep func(m []byte) (bool, error)) ([][]byte, error) {
	key := question(req)
	if told, ok := r.memory[key]; ok {
		return told, nil
	}
	told, err := r.conn.hear(req, keep)
	if err == nil {
		r.remember(key, told)
	}
	return told, err
}

func (r *Reader) remember(key string, told [][]byte) {
	if r.memory == nil {
		r.memory = map[string][][]byte{}
	}
	r.memory[key], r.news = told, true
}

// question is a request without its number.
func question(req *nl.NetlinkRequest) string {
	b := req.Serialize()
	clear(b[8:unix.NLMSG_HDRLEN])
	return string(b)
}

// Encode writes m for DecodeMemory.
func (m *Memory) Encode() []byte {
	var out []byte
	text := func(b []byte) { out = append(binary.AppendUvarint(out, uint64(len(b))), b...) }
	for _, key := range slices.Sorted(maps.Keys(m.answers)) {
		text([]byte(key))
		out = binary.AppendUvarint(out, uint64(len(m.answers[key])))
		for _, msg := range m.answers[key] {
			text(msg)
		}
	}
	return out
}

// errMemory means that what was written is not what Encode writes.
var errMemory = errors.New("what was remembered of the rules is damaged")

// DecodeMemory reads what Encode has written. It keeps b.
func DecodeMemory(b []byte) (*Memory, error) {
	m := &Memory{answers: map[string][][]byte{}}
	r := counted{rest: b}
	for len(r.rest) > 0 {
		key := string(r.bytes())
		var msgs [][]byte
		for n := r.number(); n > 0; n-- {
			msgs = append(msgs, r.bytes())
		}
		m.answers[key] = msgs
	}
	if r.damaged {
		return nil, errMemory
	}
	return m, nil
}

// counted reads numbers and what they count.
type counted struct {
	rest    []byte
	damaged bool
}

// number is never more than there are bytes behind it.
func (c *counted) number() uint64 {
	n, size := binary.Uvarint(c.rest)
	if size <= 0 || n > uint64(len(c.rest)-size) {
		c.rest, c.damaged = nil, true
		return 0
	}
	c.rest = c.rest[size:]
	return n
}

func (c *counted) bytes() []byte {
	n := c.number()
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}
