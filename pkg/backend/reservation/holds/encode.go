// SPDX-License-Identifier: Apache-2.0

package holds

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/portguard/portguard/pkg/hostport"
)

// Sizes of the structs of program/bind.c.
const (
	SlotLen    = 32 // struct slot
	HoldLen    = 64 // struct hold
	SparedLen  = 32 // struct spared
	RefusalLen = 56 // struct refusal
)

// Flags of struct hold. ours is for user space: ip_local_reserved_ports has the port for us.
const (
	any4 = 1 << iota
	any6
	one4
	one6
	localhost
	ours
	anywhere4
	anywhere6
)

// keyLen is that of a hostport.Key.
const keyLen = 24

// spareBits are those of struct spared before the address: the set and the namespace.
const spareBits = 8 * (4 + 8)

// A PortKey is a slot as the maps have it: both families share one if it is on all
// addresses, which is the zero Addr.
type PortKey struct {
	Proto hostport.Proto
	Port  uint16
	Addr  netip.Addr
}

// on is the slot that says which families of single addresses on a link have the port.
func (k PortKey) on(link int) PortKey {
	addr := [16]byte{10: 0xff, 11: 0xfe}
	binary.BigEndian.PutUint32(addr[12:], uint32(link))
	k.Addr = netip.AddrFrom16(addr)
	return k
}

// Bytes is struct slot in a network namespace.
func (k PortKey) Bytes(netns uint64) []byte {
	b := make([]byte, SlotLen)
	binary.NativeEndian.PutUint64(b, netns)
	if k.Addr.IsValid() {
		addr := k.Addr.As16()
		copy(b[8:], addr[:])
	}
	binary.BigEndian.PutUint16(b[24:], k.Port)
	b[26] = byte(k.Proto)
	return b
}

// parsePortKey is the inverse.
func parsePortKey(b []byte) (netns uint64, k PortKey) {
	k = PortKey{Proto: hostport.Proto(b[26]), Port: binary.BigEndian.Uint16(b[24:])}
	if addr := netip.AddrFrom16([16]byte(b[8:24])); !addr.IsUnspecified() {
		k.Addr = addr.Unmap()
	}
	return binary.NativeEndian.Uint64(b), k
}

// An Entry is struct hold.
type Entry struct {
	Key4, Key6 hostport.Key
	set4, set6 uint32
	flags      uint32
}

// Bytes is struct hold.
func (e Entry) Bytes() []byte {
	b := make([]byte, HoldLen)
	copy(b[:keyLen], e.Key4)
	copy(b[keyLen:2*keyLen], e.Key6)
	for i, v := range []uint32{e.set4, e.set6, e.flags} {
		binary.NativeEndian.PutUint32(b[2*keyLen+4*i:], v)
	}
	return b
}

func parseEntry(b []byte) Entry {
	n := func(i int) uint32 { return binary.NativeEndian.Uint32(b[2*keyLen+4*i:]) }
	return Entry{text(b[:keyLen]), text(b[keyLen : 2*keyLen]), n(0), n(1), n(2)}
}

// text ends at the first NUL.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// A SpareKey is an address of a set that is left out; set 0 is for all ports.
type SpareKey struct {
	Set    uint32
	Prefix netip.Prefix
}

// Bytes is struct spared in a network namespace.
func (k SpareKey) Bytes(netns uint64) []byte {
	b := make([]byte, SparedLen)
	addr, bits := k.Prefix.Addr().As16(), k.Prefix.Bits()
	if k.Prefix.Addr().Is4() {
		bits += 96
	}
	binary.NativeEndian.PutUint32(b, uint32(spareBits+bits))
	binary.NativeEndian.PutUint32(b[4:], k.Set)
	binary.NativeEndian.PutUint64(b[8:], netns)
	copy(b[16:], addr[:])
	return b
}

func parseSpareKey(b []byte) (netns uint64, k SpareKey, err error) {
	bits, addr := int(binary.NativeEndian.Uint32(b))-spareBits, netip.AddrFrom16([16]byte(b[16:32]))
	if addr.Is4In6() && bits >= 96 {
		addr, bits = addr.Unmap(), bits-96
	}
	k = SpareKey{binary.NativeEndian.Uint32(b[4:]), netip.PrefixFrom(addr, bits)}
	if !k.Prefix.IsValid() {
		err = fmt.Errorf("an address that is left out has %d bits", bits)
	}
	return binary.NativeEndian.Uint64(b[8:]), k, err
}
