// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// at writes one attribute: length and type, the payload, and padding.
func at(typ uint16, payload ...[]byte) []byte {
	p := slices.Concat(payload...)
	b := binary.NativeEndian.AppendUint16(nil, uint16(len(p)+4))
	b = append(binary.NativeEndian.AppendUint16(b, typ), p...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func num(typ uint16, n uint32) []byte { return at(typ, binary.BigEndian.AppendUint32(nil, n)) }

func str(typ uint16, s string) []byte { return at(typ, append([]byte(s), 0)) }

func join(bs ...[]byte) []byte { return slices.Concat(bs...) }

const nested = 0x8000

// pairs are attributes by type.
type pairs map[uint16][]byte

func (p pairs) attrs() Attrs {
	a := Attrs{}
	for _, typ := range slices.Sorted(maps.Keys(p)) {
		a = a.With(typ, p[typ])
	}
	return a
}

func listed(a Attrs) pairs {
	out := pairs{}
	for typ := range uint16(16) {
		if b, ok := a.Get(typ); ok {
			out[typ] = b
		}
	}
	return out
}

func TestParseAttrs(t *testing.T) {
	cut := at(1, []byte("abcd"))
	for _, tt := range []struct {
		name string
		in   []byte
		want pairs
		fail bool
	}{
		{"nothing is no attribute", nil, pairs{}, false},
		{"an attribute may be empty", at(7), pairs{7: {}}, false},
		{"the payload ends before the padding", join(at(1, []byte("a")), at(2, []byte("bc"))), pairs{1: []byte("a"), 2: []byte("bc")}, false},
		{"a whole word needs no padding", join(at(1, []byte("abcd")), at(2, []byte("e"))), pairs{1: []byte("abcd"), 2: []byte("e")}, false},
		{"the last one may lack its padding", at(1, []byte("abc"))[:7], pairs{1: []byte("abc")}, false},
		{"the flag for nested ones is no part of the type", at(1|nested, []byte("abcd")), pairs{1: []byte("abcd")}, false},
		{"nor is the flag for network order", at(1|0x4000, []byte("abcd")), pairs{1: []byte("abcd")}, false},
		{"of two of a type the last counts", join(at(1, []byte("a")), at(1, []byte("b"))), pairs{1: []byte("b")}, false},
		{"a payload that is cut off", cut[:6], pairs{}, true},
		{"a head that is cut off", cut[:3], pairs{}, true},
		{"a head that is cut off behind another", join(at(1, []byte("abcd")), []byte{1}), pairs{}, true},
		{"a length shorter than the head", []byte{3, 0, 1, 0}, pairs{}, true},
		{"a length of zero does not loop", make([]byte, 8), pairs{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseAttrs(tt.in)
			if errors.Is(err, ErrCutOff) != tt.fail || !tt.fail && err != nil {
				t.Fatalf("error is %v, want one: %v", err, tt.fail)
			}
			if diff := cmp.Diff(tt.want, listed(got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestEachAttrKeepsOrderAndStops(t *testing.T) {
	var got []uint16
	stop := errors.New("stop")
	err := EachAttr(join(at(1), at(1|nested), at(3), at(4)), func(typ uint16, _ []byte) error {
		if got = append(got, typ); typ == 3 {
			return stop
		}
		return nil
	})
	if diff := cmp.Diff([]uint16{1, 1, 3}, got); diff != "" || !errors.Is(err, stop) {
		t.Errorf("error is %v (-want +got)\n%s", err, diff)
	}
}

func TestAttrsValues(t *testing.T) {
	a := pairs{1: []byte("name\x00"), 2: {0, 0, 1, 2}, 3: {1}, 4: num(9, 7), 5: {1}}.attrs()
	if got := a.Text(1) + a.Text(8); got != "name" {
		t.Errorf("text is %q", got)
	}
	for typ, want := range map[uint16]uint32{2: 258, 3: 0, 8: 0} {
		if n, ok := a.Num(typ); n != want || ok != (want != 0) {
			t.Errorf("number %d is %d, %v, want %d", typ, n, ok, want)
		}
	}
	in, err := a.Nested(4)
	if n, ok := in.Num(9); err != nil || n != 7 || !ok {
		t.Errorf("nested number is %d, %v, %v", n, ok, err)
	}
	if in, err := a.Nested(8); err != nil || len(in) != 0 {
		t.Errorf("what is not there is %v, %v", in, err)
	}
	if _, err := a.Nested(5); !errors.Is(err, ErrCutOff) {
		t.Errorf("error of a cut nested attribute is %v", err)
	}
}
