// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What was read of the rules of nf_tables is kept in one file for as long as their
// generation is the same. It begins with a head: the magic, the generation in eight
// bytes, a checksum of all that follows. Then come the node (a boot and a network
// namespace) as a line, what it was read for as another, and what was read. It is a
// cache: losing it costs time, so no ADD fails over it.
const (
	memoryMagic = "pgseen1\n"
	headLength  = len(memoryMagic) + 8 + 4
	// maxMemory is more than one walk through the rules needs.
	maxMemory = 1 << 18
)

func (s *Store) memory() string { return filepath.Join(s.dir, "seen") }

func memoryHead(generation uint32) []byte {
	return binary.NativeEndian.AppendUint64([]byte(memoryMagic), uint64(generation))
}

func lines(node, purpose string) string { return node + "\n" + purpose + "\n" }

// Recall returns what was remembered of a node's rules for a purpose, nil if that
// was another node, generation or purpose.
func (s *Store) Recall(generation uint32, node, purpose string) []byte {
	b, err := readRegular(s.memory())
	if err != nil || len(b) < headLength || !bytes.HasPrefix(b, memoryHead(generation)) {
		return nil
	}
	sum, rest := binary.NativeEndian.Uint32(b[headLength-4:]), b[headLength:]
	what, ok := bytes.CutPrefix(rest, []byte(lines(node, purpose)))
	if !ok || crc32.ChecksumIEEE(rest) != sum {
		return nil
	}
	return what
}

// Remember keeps what was read, under the lock. The magic comes last: what is killed
// before leaves nothing to recall. What cannot be written does not stay in part.
func (s *Store) Remember(generation uint32, node, purpose string, what []byte) error {
	if len(what) > maxMemory {
		return nil
	}
	err := os.RemoveAll(s.memory())
	if err == nil {
		err = s.writeMemory(memoryHead(generation), append([]byte(lines(node, purpose)), what...))
	}
	if err != nil {
		_ = os.RemoveAll(s.memory())
	}
	return err
}

func (s *Store) writeMemory(head, rest []byte) error {
	f, err := os.OpenFile(s.memory(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	b := binary.NativeEndian.AppendUint32(head, crc32.ChecksumIEEE(rest))
	if _, err = f.WriteAt(append(b[len(memoryMagic):], rest...), int64(len(memoryMagic))); err == nil {
		_, err = f.WriteAt([]byte(memoryMagic), 0)
	}
	return err
}

// Remembers reports whether anything is remembered.
func (s *Store) Remembers() bool {
	_, err := os.Lstat(s.memory())
	return err == nil
}

// Carry says, under the lock, that what was remembered at one generation is true at
// another one.
func (s *Store) Carry(from, to uint32, node string) error {
	f, err := os.OpenFile(s.memory(), os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	have := make([]byte, headLength+len(node)+1)
	if _, err := f.ReadAt(have, 0); err != nil {
		return err
	}
	if bytes.HasPrefix(have, memoryHead(from)) && string(have[headLength:]) == node+"\n" {
		_, err = f.WriteAt(memoryHead(to), 0)
	}
	return err
}
