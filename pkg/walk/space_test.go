// SPDX-License-Identifier: Apache-2.0

package walk

import "testing"

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
