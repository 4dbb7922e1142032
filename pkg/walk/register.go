// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"slices"
)

// registers are the 16 registers of four bytes that nf_tables has.
type registers [16]slot

// A slot is one register: bytes that are known, or four bytes of something the
// packet set leaves open.
type slot struct {
	of  source
	off uint8 // which bytes of an address or a name
	// data are the bytes if known; otherwise the value is x&mask ^ data.
	data, mask [4]byte
	// port is set for the destination port.
	port bool
	// free is set for a mark that some packets have, whichever it is.
	free bool
	// lo and hi are the first and last values of a number before the mask, if hi is not 0.
	lo, hi uint16
}

type source uint8

const (
	ofAnything source = iota // free: both answers are possible
	known
	ofDst
	ofSrc
	ofIn
	ofInIndex
	ofInGroup
	ofInType
	ofMark
	ofCtMark
	ofSrcType  // the routing type of the source
	ofLinkType // that of the destination, or of the source, at one link
	ofNextHdr  // IPv6's next header: the protocol, or an extension header
	ofHeader   // other bytes of the network header, which off counts from its begin, or what else rules may write
	ofPorts    // the source port, which is open, and the destination port
	ofNumber   // one of four bytes in the order of the machine
	ofSwapped  // the same in that of the network
	unclear    // not understood
)

// index maps a register number to the first slot: NFT_REG_1 to 4 have 16 bytes,
// NFT_REG32_00 (8) and up four (nft_parse_register).
func index(reg uint32) (int, bool) {
	switch {
	case reg >= 1 && reg <= 4:
		return int(reg-1) * 4, true
	case reg >= 8 && reg < 24:
		return int(reg - 8), true
	}
	return 0, false
}

// store puts bytes into consecutive slots, padded with zeros.
func (r *registers) store(reg uint32, b []byte) {
	i, ok := index(reg)
	for n := 0; ok && n < len(b) && i < len(r); n += 4 {
		s := slot{of: known}
		copy(s.data[:], b[n:])
		r[i] = s
		i++
	}
}

// storePort puts the destination port into a slot, or one byte of it.
func (r *registers) storePort(reg uint32, port uint16, off, n int) {
	r.store(reg, binary.BigEndian.AppendUint16(nil, port)[off:off+n])
	if i, ok := index(reg); ok {
		r[i].port = true
	}
}

// port reports whether the destination port is in some of the slots.
func port(slots []slot) bool {
	return slices.ContainsFunc(slots, func(s slot) bool { return s.port })
}

// load puts something open of n bytes, from byte off on, into slots. What is left of the
// last one is 0, as the kernel has it (nft_payload_eval).
func (r *registers) load(reg uint32, of source, off, n int) {
	i, ok := index(reg)
	for ; ok && n > 0 && i < len(r); n -= 4 {
		r[i] = slot{of: of, off: uint8(off)}
		for j := range min(4, n) {
			r[i].mask[j] = 255
		}
		i, off = i+1, off+4
	}
}

// forgotten are registers of which nothing is known.
func forgotten() (r registers) {
	r.load(8, ofAnything, 0, 4*len(r))
	return r
}

// loadMark puts a mark into a slot: the number, if it is known.
func (r *registers) loadMark(reg uint32, of source, b bits) {
	if b.known == ^uint32(0) {
		r.store(reg, binary.NativeEndian.AppendUint32(nil, b.value))
		return
	}
	r.load(reg, of, 0, 4)
	if i, ok := index(reg); ok {
		r[i].free = b.known|b.free == ^uint32(0)
	}
}

// take returns the slots that hold n bytes.
//
//go:noinline // it is called from many places
func (r *registers) take(reg uint32, n int) []slot {
	i, ok := index(reg)
	k := (n + 3) / 4
	if !ok || k == 0 || i+k > len(r) {
		return nil
	}
	return r[i : i+k]
}

// bytesOf returns the bytes of slots that are all known.
func bytesOf(slots []slot, n int) ([]byte, bool) {
	var out []byte
	for _, s := range slots {
		if s.of != known {
			return nil, false
		}
		out = append(out, s.data[:]...)
	}
	if len(out) < n {
		return nil, false
	}
	return out[:n], true
}

// oneSource returns what slots hold if it is one thing from its first byte on.
func oneSource(slots []slot) (source, bool) {
	if len(slots) == 0 {
		return unclear, false
	}
	for i, s := range slots {
		if s.of != slots[0].of || int(s.off) != i*4 {
			return unclear, false
		}
	}
	return slots[0].of, true
}
