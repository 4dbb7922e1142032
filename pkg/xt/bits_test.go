// SPDX-License-Identifier: Apache-2.0

package xt

import "testing"

func TestDecodeBits(t *testing.T) {
	const all = 0xff000000
	for _, tt := range []struct {
		name, data string
		ipv6, ok   bool
		want       Bits
	}{
		{"DSCP", "\x08\x00\x00\x00", false, true, Bits{Base: 1, At: 1, N: 1, Mask: 0xfc000000, Value: 0x20000000, Writes: true}},
		{"DSCP", "\x08\x00\x00\x00", true, true, Bits{Base: 1, N: 2, Mask: 0x0fc00000, Value: 0x02000000, Writes: true}},
		{"dscp", "\x08\x01\x00\x00", false, true, Bits{Base: 1, At: 1, N: 1, Mask: 0xfc000000, Value: 0x20000000, Op: 1}},
		{"TOS", "\x10\x3f\x00\x00", false, true, Bits{Base: 1, At: 1, N: 1, Mask: 0x3f000000, Value: 0x10000000, Writes: true}},
		{"TOS", "\x10\xff\x00\x00", true, true, Bits{Base: 1, N: 2, Mask: 0x0ff00000, Value: 0x01000000, Writes: true}},
		{"tos", "\x3f\x10\x01\x00", false, true, Bits{Base: 1, At: 1, N: 1, Mask: 0x3f000000, Value: 0x10000000, Op: 1}},
		{"TTL", "\x00\x40\x00\x00", false, true, Bits{Base: 1, At: 8, N: 1, Mask: all, Value: 0x40000000, Writes: true}},
		{"HL", "\x00\x40\x00\x00", true, true, Bits{Base: 1, At: 7, N: 1, Mask: all, Value: 0x40000000, Writes: true}},
		{name: "TTL", data: "\x01\x40\x00\x00"}, // adds
		{name: "ttl", data: "\x01\x40\x00\x00"}, // a number, for Span
		{"connlabel", string(words(11)), false, true, Bits{Base: 17, At: 1, N: 1, Mask: 0x08000000, Value: 0x08000000}},
		{"connlabel", string(words(11 | 2<<16)), false, true, Bits{Base: 17, At: 1, N: 1, Mask: 0x08000000, Value: 0x08000000, Writes: true}},
		{name: "connlabel", data: string(words(11 | 3<<16))}, // sets it, and is met by nobody
		{"CLASSIFY", "\x02\x00\x01\x00", false, true, Bits{Base: 16, N: 4, Mask: 0xffffffff, Value: 0x02000100, Writes: true}},
		{name: "DSCP", data: "\x08"},
		{name: "MARK", data: "\x01\x00\x00\x00"},
	} {
		if got, ok := DecodeBits(Info{Name: tt.name, Data: []byte(tt.data), IPv6: tt.ipv6}); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s %q: got %+v, %t", tt.name, tt.data, got, ok)
		}
	}
}

// The matches for numbers, by the first and last one that they ask for, or exclude.
func TestSpan(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		from, to   string
		not, ok    bool
	}{
		{"ttl", "\x00\x40\x00\x00\x00\x00\x00\x00", "\x40", "\x40", false, true},
		{"ttl", "\x01\x40\x00\x00\x00\x00\x00\x00", "\x40", "\x40", true, true},
		{"hl", "\x00\x40\x00\x00\x00\x00\x00\x00", "\x40", "\x40", false, true},
		{"ttl", "\x02\x40\x00\x00\x00\x00\x00\x00", "\x40", "", true, true}, // less: not from there on
		{"hl", "\x03\x40\x00\x00\x00\x00\x00\x00", "", "\x40", true, true},  // more
		{name: "ttl", data: "\x04\x40\x00\x00\x00\x00\x00\x00"},
		{name: "ttl", data: "\x00\x40"},
		{"length", string(words(10|90<<16, 1)), "\x00\x0a", "\x00\x5a", true, true},
		{"length", string(words(10|90<<16, 0)), "\x00\x0a", "\x00\x5a", false, true},
		{name: "dscp", data: "\x08\x00\x00\x00\x00\x00\x00\x00"},
	} {
		from, to, not, ok := Span(Info{Name: tt.name, Data: []byte(tt.data)})
		if ok != tt.ok || ok && (string(from) != tt.from || string(to) != tt.to || not != tt.not) {
			t.Errorf("%s %q: got %q to %q, not %t, %t", tt.name, tt.data, from, to, not, ok)
		}
	}
}
