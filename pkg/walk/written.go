// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/xt"
)

// What rules write into packets beside marks is noted in their memory, byte for byte, by the bits
// that are known and their values. A later rule that asks for these bits has its answer.

// Bytes are counted from the bases of payload, and from these.
const (
	inPriority = xt.InPriority
	inLabels   = xt.InLabels
)

// elsewhereAt is where bytes are that are none of the header of the network.
const elsewhereAt = 200

// byteAt names a byte in a memory.
func byteAt(base, at uint32) string {
	if base == inLabels {
		return fmt.Sprintf("labels %d\t", at)
	}
	return fmt.Sprintf("@%d+%d\t", base, at)
}

// onward is what the next packets of the connection have of it: what was written into the packet
// itself they have not.
func (m memory) onward() memory { return m.drop("@") }

// known are the bits of a byte that are known. A new connection has no labels, and none is taken
// from it (nf_connlabels_replace gets a mask).
func (x *run) known(m memory, base, at uint32) (bits, value byte) {
	_, by, noted := strings.Cut("\n"+string(m), "\n"+byteAt(base, at))
	n, _ := strconv.ParseUint(by[:min(4, len(by))], 16, 16)
	bits, value = byte(n>>8), byte(n)
	if base == inLabels && !noted {
		bits = 255
	}
	if x.p.Later && base == inLabels {
		bits = value
	}
	return bits, value
}

// wrote notes that a rule wrote what slots hold.
func (x *run) wrote(th *thread, base, at, n uint32, slots []slot) {
	for i := range n {
		bits, value := byte(0), byte(0)
		if int(i/4) < len(slots) {
			if s := &slots[i/4]; s.of == known || s.of == ofHeader {
				bits, value = ^s.mask[i%4], s.data[i%4]
			}
		}
		if base == inLabels {
			was, had := x.known(th.b.memory, base, at+i)
			bits, value = bits&(was|value)|had, value|had
		}
		name := byteAt(base, at+i)
		th.b.memory = th.b.memory.drop(name) + memory(fmt.Sprintf("%s%02x%02x\n", name, bits, value&bits))
	}
	th.altered = true
}

// forwarded reports whether packets have left the hook where they were translated.
func (p *Packet) forwarded() bool { return p.Moved && p.Hook != Prerouting && p.Hook != Output }

// recall loads those bits of an open value that are known. What was forwarded has another TTL and
// priority (ip_forward).
func (x *run) recall(th *thread, dreg, base, at, n uint32) {
	first, ok := index(dreg)
	if !ok || x.p.forwarded() || x.p.Answer || base != inLabels && !strings.Contains(string(th.b.memory), "@") {
		return
	}
	for i := range min(n, uint32(len(th.regs)-first)*4) {
		s := &th.regs[first+int(i/4)]
		if s.of != ofHeader {
			return
		}
		bits, value := x.known(th.b.memory, base, at+i)
		s.mask[i%4] &^= bits
		s.data[i%4] = value & bits
		s.settle()
	}
}

// written loads what is in no header.
func (x *run) written(th *thread, dreg, base, n uint32) {
	th.regs.load(dreg, ofHeader, elsewhereAt, int(n))
	x.recall(th, dreg, base, 0, n)
}

// settle makes a value known of which all bits are.
func (s *slot) settle() {
	if s.of == ofHeader && s.mask == [4]byte{} {
		s.of = known
	}
}

// header asks for bits of a header, or writes them, as a match or target of xtables does.
func (x *run) header(th *thread, i xt.Info) bool {
	b, ok := xt.DecodeBits(i)
	if !ok || b.Base == inLabels && (x.unconnected(th.b) || x.templated(th.b)) {
		return false
	}
	const reg = 8 // the first one
	th.regs.load(reg, ofHeader, int(b.At), int(b.N))
	if b.Base == baseNetwork {
		x.bound(th, reg, x.family(), b.At, b.N)
	}
	x.recall(th, reg, b.Base, b.At, b.N)
	s, keep, flip := &th.regs[0], b.Mask, uint32(0)
	if b.Writes {
		keep, flip = ^keep, b.Value
	}
	binary.BigEndian.PutUint32(s.mask[:], binary.BigEndian.Uint32(s.mask[:])&keep)
	binary.BigEndian.PutUint32(s.data[:], binary.BigEndian.Uint32(s.data[:])&keep^flip)
	if s.settle(); b.Writes {
		x.write(th, b.Base, b.At, b.N, th.regs[:1])
	} else {
		x.apply(th, compare(th.regs[:1], b.Op, binary.BigEndian.AppendUint32(nil, b.Value)[:b.N], &x.p))
	}
	return true
}
