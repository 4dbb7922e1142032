// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What was read of the rules of nf_tables is kept in one file for as long as their
// generation is the same: the magic, the generation in eight bytes, the node (a
// boot and a network namespace) as a line, what it was read for as another, and
// what was read. It is a cache: losing it costs time, so no ADD fails over it.
const (
	memoryMagic = "pgseen1\n"
	// maxMemory is more than one walk through the rules needs.
	maxMemory = 1 << 18
)

func (s *Store) memory() string { return filepath.Join(s.dir, "seen") }

func memoryHead(generation uint32, node string) []byte {
	return append(binary.NativeEndian.AppendUint64([]byte(memoryMagic), uint64(generation)), node+"\n"...)
}

// Recall returns what was remembered of a node's rules for a purpose, nil if that
// was another node, generation or purpose.
func (s *Store) Recall(generation uint32, node, purpose string) []byte {
	b, err := readRegular(s.memory())
	if err != nil {
		return nil
	}
	if b, ok := bytes.CutPrefix(b, append(memoryHead(generation, node), purpose+"\n"...)); ok {
		return b
	}
	return nil
}

// Remember keeps what was read, under the lock. The magic comes last: what is killed
// before leaves nothing to recall.
func (s *Store) Remember(generation uint32, node, purpose string, what []byte) error {
	if len(what) > maxMemory {
		return nil
	}
	if err := os.RemoveAll(s.memory()); err != nil {
		return err
	}
	f, err := os.OpenFile(s.memory(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	b := append(memoryHead(generation, node), purpose+"\n"...)
	if _, err = f.WriteAt(append(b[len(memoryMagic):], what...), int64(len(memoryMagic))); err == nil {
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
	want := memoryHead(from, node)
	have := make([]byte, len(want))
	if _, err := f.ReadAt(have, 0); err != nil || !bytes.Equal(have, want) {
		return err
	}
	_, err = f.WriteAt(memoryHead(to, node), 0)
	return err
}
