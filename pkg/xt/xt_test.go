// SPDX-License-Identifier: Apache-2.0

package xt

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/iptsave"
)

func words(ns ...uint32) []byte {
	var b []byte
	for _, n := range ns {
		b = binary.NativeEndian.AppendUint32(b, n)
	}
	return b
}

// The layouts themselves are compared with what iptables-nft makes in package
// integration.
func TestMark(t *testing.T) {
	for _, tt := range []struct {
		i    Info
		want Mark
		ok   bool
	}{
		{Info{Name: "MARK", Rev: 2, Data: words(0x4000, 0xffff)}, Mark{What: SetMark, Value: 0x4000, Mask: 0xffff}, true},
		{Info{Name: "MARK", Rev: 1, Data: words(1, 2)}, Mark{}, false},
		{Info{Name: "MARK", Rev: 2, Data: words(1)}, Mark{}, false},
		{Info{Name: "CONNMARK", Rev: 1, Data: words(7, 0xff, 0xf, 0)}, Mark{What: SetCtMark, Value: 7, CtMask: 0xff, Mask: 0xf}, true},
		{Info{Name: "CONNMARK", Rev: 2, Data: words(0, 1, 2, 0x10000)}, Mark{What: SaveMark, CtMask: 1, Mask: 2}, true},
		{Info{Name: "CONNMARK", Rev: 2, Data: words(0, 1, 2, 0x20000)}, Mark{What: RestoreMark, CtMask: 1, Mask: 2}, true},
		{Info{Name: "CONNMARK", Rev: 2, Data: words(0, 1, 2, 0x20100)}, Mark{What: RestoreMark, CtMask: 1, Mask: 2}, false},
		{Info{Name: "CONNMARK", Rev: 2, Data: words(1, 2)}, Mark{}, false},
		{Info{Name: "HMARK", Rev: 0, Data: words(1, 2, 3, 4)}, Mark{}, false},
	} {
		if got, ok := DecodeMark(tt.i); got != tt.want || ok != tt.ok {
			t.Errorf("%+v: got %+v, %v", tt.i, got, ok)
		}
	}
}

func TestWritesMark(t *testing.T) {
	for _, tt := range []struct {
		i    Info
		want bool
	}{
		{Info{Name: "MARK"}, true},
		{Info{Name: "CONNMARK"}, true},
		{Info{Name: "HMARK"}, true},
		{Info{Name: "CONNSECMARK"}, false},
		{Info{Name: "SET", Rev: 3, Data: words(0, 0, 0, 1<<8, 0)}, true},
		{Info{Name: "SET", Rev: 3, Data: words(0, 0, 0, 1<<9, 0)}, false}, // a priority
		{Info{Name: "SET", Rev: 2, Data: words(0, 0, 0, 1<<8)}, false},
		{Info{Name: "SET", Rev: 3, Data: words(0, 0, 0)}, false},
	} {
		if got := WritesMark(tt.i); got != tt.want {
			t.Errorf("%+v: got %v", tt.i, got)
		}
	}
}

func TestDestination(t *testing.T) {
	range2 := func(flags uint32, lo, hi byte) []byte {
		b := append(words(flags), make([]byte, 40)...)
		copy(b[4:], []byte{10, 0, 0, lo})
		copy(b[20:], []byte{10, 0, 0, hi})
		copy(b[36:], []byte{0x1f, 0x90, 0x1f, 0x90})
		return b
	}
	for _, tt := range []struct {
		name string
		in   Info
		want string
	}{
		{"an address and a port", Info{Name: "DNAT", Rev: 2, Data: range2(3, 1, 1)}, "10.0.0.1:8080"},
		{"an address", Info{Name: "DNAT", Rev: 2, Data: range2(1, 1, 1)}, "10.0.0.1"},
		{"several addresses", Info{Name: "DNAT", Rev: 2, Data: range2(3, 1, 9)}, ""},
		{"a port alone", Info{Name: "DNAT", Rev: 2, Data: range2(2, 0, 0)}, ""},
		{"cut off", Info{Name: "DNAT", Rev: 2, Data: range2(3, 1, 1)[:30]}, ""},
		{"another target", Info{Name: "SNAT", Rev: 2, Data: range2(3, 1, 1)}, ""},
	} {
		if got := Destination(tt.in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Every combination of the flags of a socket is known, and none more.
func TestSocket(t *testing.T) {
	for flags, want := range []string{"", "--transparent", "--nowildcard", "--transparent --nowildcard", "--restore-skmark"} {
		var got []string
		opts, ok := Match(Info{Name: "socket", Rev: 3, Data: append([]byte{byte(flags)}, make([]byte, 7)...)})
		for _, o := range opts {
			got = append(got, o.String())
		}
		if strings.Join(got, " ") != want || !ok {
			t.Errorf("%d: %q, %v", flags, got, ok)
		}
	}
	for _, i := range []Info{{Name: "socket", Rev: 3, Data: []byte{8, 0, 0, 0, 0, 0, 0, 0}}, {Name: "socket", Rev: 3}, {Name: "socket", Rev: 4, Data: make([]byte, 8)}} {
		if opts, ok := Match(i); ok {
			t.Errorf("%+v is read as %v", i, opts)
		}
	}
}

// A match of an unknown name, revision or size is not guessed at.
func TestUnknown(t *testing.T) {
	for _, i := range []Info{{Name: "frob"}, {Name: "multiport", Rev: 2, Data: make([]byte, 48)}, {Name: "multiport", Rev: 1, Data: make([]byte, 20)},
		{Name: "addrtype", Rev: 1, Data: make([]byte, 40)}, {Name: "conntrack", Rev: 2, Data: make([]byte, 168)}, {Name: "set", Rev: 4, Data: make([]byte, 40)}, {Name: "set", Rev: 4, Data: make([]byte, 48)},
		{Name: "set", Data: make([]byte, 40)}, {Name: "set", Rev: 5, Data: make([]byte, 48)}, {Name: "set", Rev: 1, Data: []byte{0, 0, 7, 0, 0, 0, 0, 0}}} {
		if opts, ok := Match(i); ok {
			t.Errorf("%s revision %d of %d bytes is read as %v", i.Name, i.Rev, len(i.Data), opts)
		}
	}
}

// The mask may have holes.
func TestMaskWithHoles(t *testing.T) {
	i := Info{Data: make([]byte, 32)}
	copy(i.Data, []byte{10, 0, 0, 1})
	for mask, want := range map[[4]byte]string{{255, 0, 0, 255}: "10.0.0.1/255.0.0.255", {255, 255, 0, 0}: "10.0.0.1/16", {}: "10.0.0.1/0"} {
		copy(i.Data[16:], mask[:])
		if d := cmp.Diff(want, i.masked(0)); d != "" {
			t.Error(d)
		}
	}
}

// Conditions on the counters of a member, and members that count as none, are options
// that nobody knows.
func TestSet(t *testing.T) {
	info := func(rev uint32, dim, flags byte, at map[int]byte) Info {
		b := make([]byte, map[uint32]int{1: 8, 2: 8, 3: 48, 4: 48}[rev])
		binary.NativeEndian.PutUint16(b, 300)
		b[2], b[3] = dim, flags
		for i, v := range at {
			b[i] = v
		}
		return Info{Name: "set", Rev: rev, Data: b}
	}
	for _, tt := range []struct {
		in   Info
		want string
	}{
		{info(1, 1, 0, nil), "--match-set 300 dst"},
		{info(1, 1, 1, nil), "! --match-set 300 dst"},
		{info(2, 2, 2, nil), "--match-set 300 src,dst"},
		{info(2, 1, 0x80, nil), "--match-set 300 dst --return-nomatch"},
		{info(3, 3, 8, nil), "--match-set 300 dst,dst,src"},
		{info(3, 1, 0, map[int]byte{8: 1}), "--match-set 300 dst --counters"},
		{info(3, 1, 0, map[int]byte{16: 1}), "--match-set 300 dst"},
		{info(4, 1, 0, map[int]byte{16: 1}), "--match-set 300 dst --counters"},
		{info(4, 1, 0, map[int]byte{32: 1, 40: 0x80}), "--match-set 300 dst --counters --return-nomatch"},
		{info(4, 1, 0, map[int]byte{40: 0x18}), "--match-set 300 dst"},
	} {
		opts, ok := Match(tt.in)
		var got []string
		for _, o := range opts {
			got = append(got, o.String())
		}
		if s := strings.Join(got, " "); s != tt.want || !ok {
			t.Errorf("revision %d: got %q, want %q", tt.in.Rev, s, tt.want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, s := range []struct {
		name string
		rev  uint32
		n    int
	}{{"comment", 0, 256}, {"multiport", 1, 48}, {"addrtype", 1, 8}, {"mark", 1, 16}, {"devgroup", 0, 24}, {"conntrack", 3, 168}, {"iprange", 1, 72}, {"tcp", 0, 16}, {"udp", 0, 16}, {"sctp", 0, 296}, {"set", 1, 8}, {"set", 3, 48}, {"set", 4, 48}, {"MARK", 2, 8}, {"DNAT", 2, 40}} {
		f.Add(s.name, s.rev, make([]byte, s.n), false)
	}
	f.Fuzz(func(t *testing.T, name string, rev uint32, data []byte, ipv6 bool) {
		i := Info{Name: name, Rev: rev, Data: data, IPv6: ipv6}
		opts, ok := Match(i)
		for _, o := range opts {
			if ok && (o.Module != name || len(o.Name) < 3) {
				t.Errorf("option %+v of %s", o, name)
			}
		}
		DecodeMark(i)
		Untracks(i)
		Destination(i)
	})
}

// A mask with a hole is no length, wherever the hole is.
func TestOnes(t *testing.T) {
	for _, tt := range []struct {
		mask []byte
		n    int
		ok   bool
	}{
		{[]byte{0, 0}, 0, true}, {[]byte{255, 128}, 9, true}, {[]byte{255, 255}, 16, true},
		{[]byte{255, 160}, 9, false}, {[]byte{255, 0, 255, 0}, 8, false}, {[]byte{0, 1}, 0, false},
	} {
		if n, ok := ones(tt.mask); n != tt.n || ok != tt.ok {
			t.Errorf("%x: %d, %v", tt.mask, n, ok)
		}
	}
}

func TestExpires(t *testing.T) {
	for data, want := range map[string]bool{"\x00\x01": true, "\x00\x00": true, "\x00\x40": false, "\x01\x01": false, "\x02\x01": false, "\x02\x3f": true, "\x01\x3f": false, "\x00": false} {
		if got := Expires(Info{Name: "TTL", Data: []byte(data)}); got != want {
			t.Errorf("%q: %t", data, got)
		}
	}
}

func TestHashedMark(t *testing.T) {
	data := make([]byte, 64)
	copy(data[52:], words(3, 7))
	for _, tt := range []struct {
		name string
		of   Info
		ok   bool
	}{
		{"a modulus and what is added", Info{Name: "HMARK", Data: data}, true},
		{"another revision", Info{Name: "HMARK", Rev: 1, Data: data}, false},
		{"another size", Info{Name: "HMARK", Data: data[:48]}, false},
		{"no modulus", Info{Name: "HMARK", Data: make([]byte, 64)}, false},
		{"another target", Info{Name: "MARK", Data: data}, false},
	} {
		if from, n, ok := HashedMark(tt.of); ok != tt.ok || ok && (from != 7 || n != 3) {
			t.Errorf("%s: got %d from %d on, %t", tt.name, n, from, ok)
		}
	}
}

// What SET adds to and takes out of is told by index, as a match on a set is.
func TestNotes(t *testing.T) {
	data := words(0x02010007, 0x0401ffff)
	for _, tt := range []struct {
		in         Info
		adds, dels string
	}{
		{Info{Name: "SET", Rev: 1, Data: data}, "--match-set 7 src", ""},
		{Info{Name: "SET", Rev: 3, Data: append(words(0x0001ffff, 0x04020009), 0, 0, 0, 0)}, "", "--match-set 9 dst,src"},
		{Info{Name: "SET", Data: data}, "", ""},
		{Info{Name: "SET", Rev: 1, Data: data[:7]}, "", ""},
		{Info{Name: "MARK", Rev: 1, Data: data}, "", ""},
	} {
		adds, dels := Notes(tt.in)
		var got [2]string
		for i, list := range [][]iptsave.Option{adds, dels} {
			for _, o := range list {
				got[i] += o.String()
			}
		}
		if got != [2]string{tt.adds, tt.dels} {
			t.Errorf("%+v: got %q", tt.in, got)
		}
	}
}

func TestDecodeRecent(t *testing.T) {
	b := make([]byte, 228)
	b[4], b[8], b[9], b[210], b[212] = 3, 2, 1, 1, 255
	copy(b[10:], "knocked")
	want := Recent{Name: "knocked", By: "1ff" + strings.Repeat("0", 30), Sets: true, Not: true, Hits: 3}
	if got, ok := DecodeRecent(Info{Name: "recent", Rev: 1, Data: b}); got != want || !ok {
		t.Errorf("got %+v, %v", got, ok)
	}
	b[8] = 8
	want = Recent{Name: "knocked", By: "1", Removes: true, Not: true, Hits: 3}
	if got, ok := DecodeRecent(Info{Name: "recent", Data: b}); got != want || !ok {
		t.Errorf("got %+v, %v", got, ok)
	}
	if got, ok := DecodeRecent(Info{Name: "recent", Rev: 1, Data: b[:200]}); ok {
		t.Errorf("got %+v of what is cut off", got)
	}
}
