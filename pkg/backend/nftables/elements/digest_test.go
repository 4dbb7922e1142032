// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"hash/crc32"
	"testing"
)

// Chains of versions that used the package keep their names.
func TestDigestIsCRC32(t *testing.T) {
	for _, s := range []string{"", "\x00", "tcp dport 80 ip saddr 10.0.0.1 dnat ip to 10.88.0.5:80\nreturn", "\xff\x80ä"} {
		if got, want := digest(s), crc32.ChecksumIEEE([]byte(s)); got != want {
			t.Errorf("%q: %08x, want %08x", s, got, want)
		}
	}
}
