// SPDX-License-Identifier: Apache-2.0

package addrset

import (
	"math/bits"
	"net/netip"
)

// Masked are the addresses of s whose bits in mask are those of value. It is not ok if they
// are more than limit spans. Both must be as long as the addresses of s.
func (s Set) Masked(mask, value []byte, limit int) (out Set, ok bool) {
	free := 0 // bits behind the last one of the mask
	for i := len(mask) - 1; i >= 0 && free == 8*(len(mask)-1-i); i-- {
		free += bits.TrailingZeros8(mask[i])
	}
	for _, sp := range s {
		for a := sp.Lo; ; {
			lo, some := next(a, mask, value)
			if !some || sp.Hi.Less(lo) {
				break
			}
			if len(out) == limit {
				return nil, false
			}
			hi := last(netip.PrefixFrom(lo, lo.BitLen()-free).Masked())
			if !hi.Less(sp.Hi) {
				out = append(out, Span{lo, sp.Hi})
				break
			}
			out = append(out, Span{lo, hi})
			a = hi.Next()
		}
	}
	return Union(out), true
}

// next is the first address from a on whose bits in mask are those of value.
func next(a netip.Addr, mask, value []byte) (netip.Addr, bool) {
	b := a.AsSlice()
	at := 0 // the first bit that differs
	for at < len(b)*8 && (!bit(mask, at) || bit(b, at) == bit(value, at)) {
		at++
	}
	if at < len(b)*8 && bit(b, at) { // it is 1 and must be 0: a bit before it has to grow
		at--
		for at >= 0 && (bit(mask, at) || bit(b, at)) {
			at--
		}
		if at < 0 {
			return a, false
		}
	}
	if at < len(b)*8 {
		setBit(b, at, true)
	}
	for i := at + 1; i < len(b)*8; i++ {
		setBit(b, i, bit(mask, i) && bit(value, i))
	}
	a, _ = netip.AddrFromSlice(b)
	return a, true
}

func bit(b []byte, i int) bool { return b[i/8]>>(7-i%8)&1 == 1 }

func setBit(b []byte, i int, one bool) {
	b[i/8] &^= 1 << (7 - i%8)
	if one {
		b[i/8] |= 1 << (7 - i%8)
	}
}
