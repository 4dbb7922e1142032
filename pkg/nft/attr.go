// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"
)

// Attributes of include/uapi/linux/netfilter/nf_tables.h that are newer than
// golang.org/x/sys/unix.
const (
	setExpr       = 17 // NFTA_SET_EXPR
	setDescConcat = 2  // NFTA_SET_DESC_CONCAT
	setFieldLen   = 1  // NFTA_SET_FIELD_LEN
	elemExprs     = 11 // NFTA_SET_ELEM_EXPRESSIONS
	// ElemKeyEnd is NFTA_SET_ELEM_KEY_END.
	ElemKeyEnd = 10
)

// ErrCutOff means that netlink attributes are cut off.
var ErrCutOff = errors.New("the answer of the kernel is cut off")

// Attrs are netlink attributes as they came. They are looked up in place,
// because of most rules only the first expressions matter.
type Attrs []byte

// attrTypeMask leaves out the flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
const attrTypeMask = 0x3fff

// parseAttrs checks attributes: length and type as 16-bit numbers in the
// machine's order, then the payload, padded to four bytes.
func parseAttrs(b []byte) (Attrs, error) {
	if err := EachAttr(b, func(uint16, []byte) error { return nil }); err != nil {
		return nil, err
	}
	return b, nil
}

// EachAttr calls f for each attribute, until it fails.
func EachAttr(b []byte, f func(typ uint16, payload []byte) error) error {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return fmt.Errorf("%w: an attribute has %d bytes, and %d are left", ErrCutOff, n, len(b))
		}
		if err := f(binary.NativeEndian.Uint16(b[2:])&attrTypeMask, b[4:n]); err != nil {
			return err
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	if len(b) > 0 {
		return ErrCutOff
	}
	return nil
}

// all goes through attributes up to one that is cut off, which parseAttrs has refused.
func (a Attrs) all() iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for b := []byte(a); len(b) >= 4; {
			n := int(binary.NativeEndian.Uint16(b))
			if n < 4 || n > len(b) || !yield(binary.NativeEndian.Uint16(b[2:])&attrTypeMask, b[4:n]) {
				return
			}
			b = b[min(len(b), (n+3)&^3):]
		}
	}
}

// Get returns the payload of the last attribute of a type, and whether there is
// one.
func (a Attrs) Get(typ uint16) (payload []byte, ok bool) {
	for t, p := range a.all() {
		if t == typ {
			payload, ok = p, true
		}
	}
	return payload, ok
}

// With returns a with another attribute behind.
//
//go:noinline // inlined, each call is 200 bytes of code
func (a Attrs) With(typ uint16, payload []byte) Attrs {
	return append(make(Attrs, 0, len(a)+4+(len(payload)+3)&^3), a...).put(typ, payload)
}

// put is With in the memory of a, as far as there is room.
func (a Attrs) put(typ uint16, payload []byte) Attrs {
	a, at := a.open(typ)
	return append(a, payload...).close(at)
}

// putText is put for a string.
func (a Attrs) putText(typ uint16, s string) Attrs {
	a, at := a.open(typ)
	return append(append(a, s...), 0).close(at)
}

// putData is put for a value in NFTA_DATA attributes.
func (a Attrs) putData(typ uint16, value []byte) Attrs {
	a, at := a.open(typ | unix.NLA_F_NESTED)
	return a.put(unix.NFTA_DATA_VALUE, value).close(at)
}

// open begins an attribute in the memory of a: what is appended until close is its payload.
func (a Attrs) open(typ uint16) (b Attrs, at int) {
	return binary.NativeEndian.AppendUint16(append(a, 0, 0), typ), len(a)
}

// close ends the attribute that begins at a place.
func (a Attrs) close(at int) Attrs {
	binary.NativeEndian.PutUint16(a[at:], uint16(len(a)-at))
	return append(a, "\x00\x00\x00"[:(4-len(a)%4)%4]...)
}

// WithNum is With for a number, in network order.
func (a Attrs) WithNum(typ uint16, n uint32) Attrs {
	return a.With(typ, binary.BigEndian.AppendUint32(nil, n))
}

// WithText is With for a string.
func (a Attrs) WithText(typ uint16, s string) Attrs { return a.With(typ, append([]byte(s), 0)) }

// Nest is With for an attribute that holds others.
func (a Attrs) Nest(typ uint16, others Attrs) Attrs { return a.With(typ|unix.NLA_F_NESTED, others) }

// Text returns a string attribute without its NUL.
func (a Attrs) Text(typ uint16) string {
	b, _ := a.Get(typ)
	return Text(b)
}

// Fields are the payloads of the first types of attributes.
type Fields [8][]byte

// Fields looks at each attribute once.
func (a Attrs) Fields() (f Fields) {
	for typ, payload := range a.all() {
		if int(typ) < len(f) {
			f[typ] = payload
		}
	}
	return f
}

// Num is Attrs.Num.
func (f *Fields) Num(typ uint16) (uint32, bool) { return number(f[typ]) }

// Nested is Attrs.Nested.
func (f *Fields) Nested(typ uint16) (Attrs, error) { return parseAttrs(f[typ]) }

// Num returns a number of four bytes, which nf_tables writes in network order,
// and whether it is there.
func (a Attrs) Num(typ uint16) (uint32, bool) {
	b, _ := a.Get(typ)
	return number(b)
}

func number(b []byte) (uint32, bool) {
	if len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

// Nested parses a nested attribute; one that is not there is empty.
func (a Attrs) Nested(typ uint16) (Attrs, error) {
	b, _ := a.Get(typ)
	return parseAttrs(b)
}

// Contains reports whether a has all attributes of b with the same payloads.
// Flags of types do not matter, in nested attributes neither.
func Contains(a, b Attrs) bool {
	same := true
	err := EachAttr(b, func(typ uint16, want []byte) error {
		have, ok := a.Get(typ)
		if same = same && ok; ok && !bytes.Equal(have, want) {
			h, err1 := parseAttrs(have)
			w, err2 := parseAttrs(want)
			same = same && err1 == nil && err2 == nil && len(h) > 0 && len(w) > 0 && Contains(h, w)
		}
		return nil
	})
	return same && err == nil
}
