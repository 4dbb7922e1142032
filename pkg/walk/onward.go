// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
)

// Translated are the packets of s with another destination.
func (s Space) Translated(to addrset.Set) Space {
	out := slices.Clone(s)
	for i := range out {
		out[i].dst = to
	}
	return out
}

// Answered are the answers to the packets of s as they come in by a link: the mark of the
// connection is what it was.
func (s Space) Answered(p Packet) Space {
	out := slices.Clone(s)
	for i := range out {
		out[i] = box{dst: p.Dst, src: p.Src, in: ifaces{only: p.In.Name}, mark: guess(0), ctMark: out[i].ctMark}
	}
	return out
}

// Mark is the mark of all packets that are to be expected, if it is one.
func (s Space) Mark() (mark uint32, ok bool) {
	for i, b := range s.Likely() {
		if b.mark.known|b.mark.guessed != ^uint32(0) || i > 0 && b.mark.value != mark {
			return 0, false
		}
		mark = b.mark.value
	}
	return mark, true
}
