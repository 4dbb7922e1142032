// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// errAttr means that netlink attributes are cut off.
var errAttr = errors.New("netlink attribute is cut off")

// Attrs are netlink attributes by their type. Nested ones are kept as bytes.
type Attrs map[uint16][]byte

// parseAttrs reads attributes: length and type as 16-bit numbers in the
// machine's order, then the payload, padded to four bytes.
func parseAttrs(b []byte) (Attrs, error) {
	out := Attrs{}
	err := eachAttr(b, func(typ uint16, payload []byte) error {
		out[typ] = payload
		return nil
	})
	return out, err
}

func eachAttr(b []byte, f func(typ uint16, payload []byte) error) error {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return fmt.Errorf("%w: %d of %d bytes", errAttr, n, len(b))
		}
		// The two highest bits are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
		if err := f(binary.NativeEndian.Uint16(b[2:])&0x3fff, b[4:n]); err != nil {
			return err
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	if len(b) > 0 {
		return errAttr
	}
	return nil
}

// Text returns a string attribute without its NUL.
func (a Attrs) Text(typ uint16) string { return strings.TrimRight(string(a[typ]), "\x00") }

// Num returns a number of four bytes, which nf_tables writes in network order,
// and whether it is there.
func (a Attrs) Num(typ uint16) (uint32, bool) {
	b, ok := a[typ]
	if !ok || len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

// Nested parses a nested attribute; one that is not there is empty.
func (a Attrs) Nested(typ uint16) (Attrs, error) { return parseAttrs(a[typ]) }
