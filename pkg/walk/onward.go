// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
)

// Answered are the answers p to the packets of s before the first rule: the mark of the
// connection is what it was, and in sets to which rules added their ends they may be.
func (s Space) Answered(p Packet) Space {
	out := slices.Clone(s)
	for i, b := range s {
		out[i] = box{dst: b.dst, src: b.src, in: p.comesBy(), mark: guess(0), ctMark: b.ctMark, answered: true, doubtful: b.doubtful}
		if !p.Beside {
			out[i].memory = memory("").or(b.memory.onward())
		}
	}
	return out.distinct()
}

// From are the packets of s with other sources of their connections.
func (s Space) From(src addrset.Set) Space {
	out := slices.Clone(s)
	for i := range out {
		out[i].src = src
	}
	return out.distinct()
}

// Unanswered are the packets of s as if their connection had got no answer.
func (s Space) Unanswered() Space {
	out := slices.Clone(s)
	for i := range out {
		out[i].answered = false
	}
	return out.distinct()
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
