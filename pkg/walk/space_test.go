// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
)

// Of too many boxes the sources are joined, and the marks are known as long as there are few.
func TestHull(t *testing.T) {
	for _, tt := range []struct {
		marks, boxes int
		known        bool
	}{{1, 1, true}, {2, 2, true}, {maxMarks, maxMarks, true}, {maxMarks + 1, 1, false}} {
		var s Space
		src := netip.MustParseAddr("10.0.0.0")
		for i := range 3 * maxBoxes {
			src = src.Next()
			s = append(s, box{dst: addrset.All(true), src: addrset.Between(src, src), mark: number(uint32(i % tt.marks)), ctMark: number(7)})
		}
		got := s.bounded(true)
		if len(got) != tt.boxes {
			t.Errorf("%d marks: %d boxes, want %d", tt.marks, len(got), tt.boxes)
		}
		for _, b := range got {
			if known := b.mark.known == ^uint32(0); known != tt.known || b.ctMark != number(7) || len(b.src) != 1 || b.src[0] != addrset.All(true)[0] {
				t.Errorf("%d marks: %+v", tt.marks, b)
			}
		}
	}
}

// A guess says what is to be expected. Bits of which nothing is known are another matter.
func TestUnexpected(t *testing.T) {
	half := bits{guessed: 0xffff}
	for _, tt := range []struct {
		name                   string
		value, mask            uint32
		not                    bool
		some, sure, unexpected bool
	}{
		{"as guessed", 0, 0xff, false, true, true, false},
		{"another than guessed", 1, 0xff, false, true, false, true},
		{"not another", 1, 0xff, true, true, true, false},
		{"not as guessed", 0, 0xff, true, true, false, true},
		{"bits that are not known", 1 << 16, 1 << 16, false, true, false, false},
		{"as guessed, and bits that are not known", 1 << 16, 1<<16 | 1, false, true, false, false},
		{"another than guessed, and bits that are not known", 1<<16 | 1, 1<<16 | 1, false, true, false, true},
	} {
		_, some, sure := half.with(tt.value, tt.mask, tt.not)
		if unexpected := half.unexpected(tt.value, tt.mask, tt.not); some != tt.some || sure != tt.sure || unexpected != tt.unexpected {
			t.Errorf("%s: some %t, sure %t, unexpected %t", tt.name, some, sure, unexpected)
		}
	}
}

// Of free bits both values are there, whatever is asked for. An unknown bit makes them unknown.
func TestFree(t *testing.T) {
	mixed := number(5).or(number(1)).or(number(3))
	for _, tt := range []struct {
		name        string
		of          bits
		value, mask uint32
		not         bool
		some, sure  bool
	}{
		{"one that both have", mixed, 1, 1, false, true, true},
		{"one that both have is asked for otherwise", mixed, 0, 1, false, false, true},
		{"a value of some", mixed, 4, 4, false, true, true},
		{"no value of some", mixed, 4, 4, true, true, true},
		{"values that nobody has together are not known to be nobody's", mixed, 7, 7, false, true, true},
		{"changed alike", mixed.xor(number(4)), 4, 4, false, true, true},
		{"masked", mixed.and(^uint32(4)), 4, 4, false, false, true},
		{"mixed again", mixed.or(mixed), 6, 6, false, true, true},
		{"one is to be expected only", number(5).or(guess(1)), 4, 4, false, true, true},
		{"all are to be expected only", guess(5).or(guess(1)), 4, 4, true, true, true},
		{"one that all have, and some only are expected to", number(5).or(guess(1)), 0, 1, false, true, false},
		{"some may have any", mixed.or(bits{}), 4, 4, false, true, false},
		{"some may have any, and it is asked which of them has not", mixed.or(bits{}), 4, 4, true, true, false},
	} {
		if _, some, sure := tt.of.with(tt.value, tt.mask, tt.not); some != tt.some || sure != tt.sure {
			t.Errorf("%s: some %t, sure %t", tt.name, some, sure)
		}
	}
	if left, _, _ := mixed.with(4, 4, false); left != (bits{value: 5, known: ^uint32(2), free: 2}) {
		t.Errorf("those with a value have it: %+v", left)
	}
}
