// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

func hton(n uint32) exprs { return ex("byteorder", map[uint16]uint32{1: 1, 2: 1, 3: 1, 4: n, 5: n}) }

// What all packets have is met by all, and what none has by none, however a rule asks.
func TestSpans(t *testing.T) {
	ttl, length, size := load(1, 8, 1), load(1, 2, 2), meta(metaLen)
	version, words, offset := and(load(1, 0, 1), masked([]byte{0xf0}, []byte{0})), and(load(1, 0, 1), masked([]byte{0x0f}, []byte{0})), and(load(2, 12, 1), masked([]byte{0xf0}, []byte{0}))
	between := func(keys ...byte) (out []nft.Element) {
		for i := 0; i < len(keys); i += 2 {
			out = append(out, nft.Element{Key: keys[i : i+1]}, end([]byte{keys[i+1]}))
		}
		return out
	}
	sets := map[string]fakeSet{
		"all":     {fields: []int{1}, flags: nft.SetInterval, elems: []nft.Element{{Key: []byte{1}}}},
		"halves":  {fields: []int{1}, flags: nft.SetInterval, elems: append(between(1, 100), nft.Element{Key: []byte{100}})},
		"hole":    {fields: []int{1}, flags: nft.SetInterval, elems: append(between(1, 100), nft.Element{Key: []byte{101}})},
		"none":    {fields: []int{1}, elems: keys([]byte{0})},
		"proto":   {fields: []int{1, 1}, flags: nft.SetInterval, elems: []nft.Element{{Key: []byte{1, 0, 0, 0, 6, 0, 0, 0}, KeyEnd: []byte{255, 0, 0, 0, 6, 0, 0, 0}}}},
		"lengths": {fields: []int{4}, elems: keys(native(0), native(70000))},
	}
	concat := and(to(8, ttl), to(9, load(1, 9, 1)), with(lookIn("proto", 0), 2, be32(8)))
	same := func(name string, match exprs, want Tri) matchCase { return matchCase{name, match, want, want} }
	checkMatches(t, packet4, sets, []matchCase{
		same("a hop is left", and(ttl, test1(cmpGT, []byte{0})), Yes),
		same("none is", and(ttl, is(0)), No),
		same("not none", and(ttl, isNot(0)), Yes),
		same("fewer than one", and(ttl, test1(cmpLT, []byte{1})), No),
		same("more than one", and(ttl, test1(cmpGT, []byte{1})), Some),
		same("some number", and(ttl, is(64)), Some),
		same("the largest", and(ttl, test1(cmpLTE, []byte{255})), Yes),
		same("a range of all", and(ttl, within(cmpEQ, []byte{1}, []byte{255})), Yes),
		same("not that range", and(ttl, within(cmpNEQ, []byte{1}, []byte{255})), No),
		same("a set of all", and(ttl, lookIn("all", 0)), Yes),
		same("not that set", and(ttl, lookIn("all", 1)), No),
		same("a set of halves", and(ttl, lookIn("halves", 0)), Yes),
		same("a set with a hole", and(ttl, lookIn("hole", 0)), Some),
		same("a set of none", and(ttl, lookIn("none", 0)), No),
		same("beside something known", concat, Yes),
		same("with its neighbour", and(load(1, 8, 2), is(64, 6)), Some),
		same("one bit of it", and(ttl, masked([]byte{0x81}, []byte{0}), isNot(0)), Some),
		same("flipped bits of it", and(ttl, masked([]byte{0xff}, []byte{1}), is(0)), Some),

		same("a length", and(length, test1(cmpGT, be16(27))), Yes),
		same("a longer one", and(length, test1(cmpGT, be16(28))), Some),
		same("its first byte", and(load(1, 2, 1), is(0)), Some),
		same("less than is compared", and(length, is(0)), Some),
		same("the length of all", and(size, hton(4), test1(cmpGT, be32(0))), Yes),
		same("that is not 0", and(size, isNot(native(0)...)), Yes),
		same("that is below 64 KB", and(size, hton(4), within(cmpEQ, be32(0), be32(65535))), Yes),
		same("that is shorter than a header", and(size, hton(4), test1(cmpLT, be32(28))), No),
		same("in the order of the machine", and(size, test1(cmpGT, native(0))), Some),
		same("one of some lengths that none has", and(size, lookIn("lengths", 0)), No),

		same("the version", and(version, is(0x40)), Yes),
		same("not another", and(version, isNot(0x60)), Yes),
		same("header words", and(words, test1(cmpGTE, []byte{5})), Yes),
		same("as few of them as can be", and(words, is(5)), Some),
		same("fewer", and(words, is(4)), No),
		same("words of TCP", and(offset, test1(cmpGTE, []byte{0x50})), Yes),

		{"the header of the link", and(load(0, 12, 2), is(8, 0)), Some, No},
	})
}

func TestSpansOfOtherPackets(t *testing.T) {
	hops, payload, udpLength := load(1, 7, 1), load(1, 4, 2), load(2, 4, 2)
	checkMatches(t, packet6, nil, []matchCase{
		{"a hop is left", and(hops, test1(cmpGT, []byte{0})), Yes, Yes},
		{"the version", and(load(1, 0, 1), masked([]byte{0xf0}, []byte{0}), is(0x60)), Yes, Yes},
		{"what it carries", and(payload, isNot(0, 0)), Yes, Yes},
		{"all of it", and(meta(metaLen), hton(4), test1(cmpGTE, be32(48))), Yes, Yes},
		{"the length of UDP is not that of TCP", and(udpLength, test1(cmpGTE, be16(8))), Some, Some},
	})
	checkMatches(t, func(h Hook) Packet { p := packet4(h); p.Proto = hostport.UDP; return p }, nil, []matchCase{
		{"the length of UDP", and(udpLength, test1(cmpGTE, be16(8))), Yes, Yes},
		{"words of TCP are not those of UDP", and(load(2, 12, 1), test1(cmpGTE, []byte{0x50})), Some, Some},
	})
	checkMatches(t, func(h Hook) Packet { p := packet4(h); p.Later = true; return p }, nil, []matchCase{
		{"later packets may be longer", and(meta(metaLen), hton(4), test1(cmpLTE, be32(65535))), Some, Some},
	})
}

// A zone that a rule sets is one that the next may ask for.
func TestZones(t *testing.T) {
	setZone := and(immediate(1, native(7)), ex("ct", map[uint16]uint32{2: ctZone, 4: 1}))
	p := packet4(Prerouting)
	p.Early = true
	w := New(&ruleset{family: nft.Inet, chains: map[string][]nft.Rule{
		"raw": rulesOf(setZone), "pre": rulesOf(and(ct(ctZone), is(native(7)[:2]...), redir()), ends1(nft.Drop, ""))}}, nft.Table{Family: nft.Inet, Name: "t"}, p.Family(), Options{})
	early, err := w.Walk("raw", p)
	if err != nil {
		t.Fatal(err)
	}
	p.Early = false
	got, err := w.WalkOn("pre", p, early.Next)
	if err != nil || say(got) != "some redirect via pre; end yes drop via pre" {
		t.Errorf("got %s, %v", say(got), err)
	}
}
