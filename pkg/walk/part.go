// SPDX-License-Identifier: Apache-2.0

package walk

// maxParts bounds the spans of addresses of which some bytes are known.
const maxParts = 64

// part reads a comparison with some bytes of an address, of those that a thread has. It is
// not ok if slots hold something else, or the addresses are too many to tell.
func (th *thread) part(slots []slot, data []byte) (c cond, ok bool) {
	if len(slots) == 0 || slots[0].of != ofDst && slots[0].of != ofSrc {
		return c, false
	}
	all := th.b.dst
	if slots[0].of == ofSrc {
		c.kind, all = onSrc, th.b.src
	}
	size := all[0].Lo.BitLen() / 8
	mask, value := make([]byte, size), make([]byte, size)
	for i, b := range data {
		s, j := slots[i/4], i%4
		at := int(s.off) + j
		switch {
		case s.of != slots[0].of || at >= size:
			return c, false
		case (b^s.data[j])&^s.mask[j] != 0: // it never has that
			return c, true
		}
		mask[at], value[at] = s.mask[j], b^s.data[j]
	}
	c.addrs, ok = all.Masked(mask, value, maxParts)
	return c, ok
}
