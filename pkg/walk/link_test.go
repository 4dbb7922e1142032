// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/portguard/portguard/pkg/nft"
)

// native2 is a number of two bytes, in a field of four.
func native2(n uint32) []byte { return native(n)[:2] }

// What comes in by lo was translated in output, or was not, however a rule asks for lo.
func TestNativeLookupOfLinks(t *testing.T) {
	// The key is a link and the port.
	key := func(link []byte, port byte) []byte { return append(slices.Clone(link), 0, port, 0, 0) }
	vmap := func(fields []int, keys ...[]byte) fakeSet {
		s := fakeSet{fields: fields, flags: nft.SetMap | nft.SetAnonymous, verdicts: true}
		for _, k := range keys {
			s.elems = append(s.elems, nft.Element{Key: k, Verdict: nft.Verdict{Code: nft.Continue}}) // and the rule redirects it
		}
		return s
	}
	rest := vmap([]int{16}, name16("lo"))
	rest.elems[0].Verdict = nft.Verdict{Code: nft.Accept}
	rest.elems = append(rest.elems, nft.Element{Flags: catchAllFlag, Verdict: nft.Verdict{Code: nft.Continue}})
	wild := fakeSet{fields: []int{16}, flags: nft.SetInterval | nft.SetAnonymous, elems: append(keys(name16("eth")), end(name16("eti")))}
	loWild := fakeSet{fields: []int{16}, flags: nft.SetInterval | nft.SetAnonymous, elems: append(keys(name16("lo")), end(append([]byte("lo"), append(make([]byte, 13), 1)...)))}
	sets := map[string]fakeSet{
		"v-lo": vmap([]int{4}, native(1)), "v-eth": vmap([]int{4}, native(2)), "v-both": vmap([]int{4}, native(1), native(2)),
		"v-name-lo": vmap([]int{16}, name16("lo")), "v-name-eth": vmap([]int{16}, name16("eth0")), "v-rest": rest,
		"v-pair-lo": vmap([]int{4, 2}, key(native(1), 80), key(native(2), 81)), "v-pair-eth": vmap([]int{4, 2}, key(native(2), 80)),
		"v-type-lo": vmap([]int{2}, native2(loopbackType)), "v-type": vmap([]int{2}, native2(1)),
		"lo": {fields: []int{4}, elems: keys(native(1))}, "eth": {fields: []int{4}, elems: keys(native(2))}, "groups": {fields: []int{4}, elems: keys(native(7), native(8))},
		"names": {fields: []int{16}, elems: keys(name16("lo"), name16("eth0"))}, "wild": wild, "wild-lo": loWild, "plus": {fields: []int{16}, elems: keys(name16("+"), name16("eth0"))},
		"name-lo": {fields: []int{16, 2}, flags: nft.SetAnonymous, elems: keys(key(name16("lo"), 80))},
	}
	pair := and(to(8, meta(metaIif)), to(9, dport()))
	named := and(to(8, meta(metaIifName)), to(12, dport()))
	cases := []matchCase{
		{"a vmap of lo", and(meta(metaIif), lookMap("v-lo", 0)), No, No},
		{"a vmap of another link", and(meta(metaIif), lookMap("v-eth", 0)), Some, No},
		{"a vmap of both", and(meta(metaIif), lookMap("v-both", 0)), Some, No},
		{"a vmap of the name lo", and(meta(metaIifName), lookMap("v-name-lo", 0)), No, No},
		{"a vmap of another name", and(meta(metaIifName), lookMap("v-name-eth", 0)), Some, No},
		{"all but lo", and(meta(metaIifName), lookMap("v-rest", 0)), Yes, Yes},
		{"a vmap of lo and the port", and(pair, with(lookMap("v-pair-lo", 0), 2, be32(8))), No, No},
		{"a vmap of another link and the port", and(pair, with(lookMap("v-pair-eth", 0), 2, be32(8))), Some, No},
		{"a vmap of lo's type", and(meta(metaIifType), lookMap("v-type-lo", 0)), No, No},
		{"a vmap of another type", and(meta(metaIifType), lookMap("v-type", 0)), Some, No},
		{"a set of lo", and(meta(metaIif), lookIn("lo", 0)), No, No},
		{"not a set of lo", and(meta(metaIif), lookIn("lo", 1)), Yes, Yes},
		{"a set of another link", and(meta(metaIif), lookIn("eth", 0)), Some, No},
		{"a set of names", and(meta(metaIifName), lookIn("names", 0)), Some, No},
		{"a set of names and another one", and(meta(metaIifName), lookIn("names", 0), meta(metaIifName), is(name16("eth1")...)), No, No},
		{"a set of names that begin so", and(meta(metaIifName), lookIn("wild", 0)), Some, No},
		{"and another one", and(meta(metaIifName), lookIn("wild", 0), meta(metaIifName), is(name16("wlan0")...)), No, No},
		{"and one of them", and(meta(metaIifName), lookIn("wild", 0), meta(metaIifName), is(name16("eth7")...)), Some, No},
		{"an interval of lo", and(meta(metaIifName), lookIn("wild-lo", 0)), No, No},
		{"the whole name of a pattern", and(meta(metaIifName), is(name16("+")...)), Some, No},
		{"none of that name", and(meta(metaIifName), isNot(name16("eth+")...), meta(metaIifName), is(name16("eth0")...)), Some, No},
		{"a set of such names", and(meta(metaIifName), lookIn("plus", 0)), Some, No},
		{"a set of the name lo and the port", and(named, from8(lookIn("name-lo", 0))), No, No},
		{"lo's type", and(meta(metaIifType), is(native2(loopbackType)...)), No, No},
		{"not lo's type", and(meta(metaIifType), isNot(native2(loopbackType)...)), Yes, No},
		{"a group", and(meta(metaIifGroup), is(native(7)...)), Some, No},
		{"groups", and(meta(metaIifGroup), lookIn("groups", 0)), Some, No},
	}
	checkMatches(t, packet4, sets, cases)
}

// Of links that are all known, those that are not there bring nothing.
func TestLinksThatAreThere(t *testing.T) {
	links := []Link{{Name: "lo", Index: 1}, {Name: "eth0", Index: 2, Group: 7}, {Name: "eth1", Index: 3}}
	sets := map[string]fakeSet{
		"eth0": {fields: []int{4}, elems: keys(native(2))}, "all": {fields: []int{4}, elems: keys(native(2), native(3))},
		"groups": {fields: []int{4}, elems: keys(native(7), native(8))},
	}
	name := func(s string) exprs { return and(meta(metaIifName), is(name16(s)...)) }
	for _, known := range []bool{false, true} {
		of := func(where, elsewhere Tri) Tri { return map[bool]Tri{true: where, false: elsewhere}[known] }
		checkMatches(t, func(h Hook) Packet {
			p := packet4(h)
			if known {
				p.Links = links
			}
			return p
		}, sets, []matchCase{
			{"a link that is there", name("eth0"), Some, No},
			{"one that is not", name("docker9"), of(No, Some), No},
			{"not one that is not", and(meta(metaIifName), isNot(name16("docker9")...)), of(Yes, Some), Yes},
			{"a wildcard of all", and(meta(metaIifName), is([]byte("eth")...)), of(Yes, Some), No},
			{"a wildcard of none", and(meta(metaIifName), is([]byte("docker")...)), of(No, Some), No},
			{"neither of both", and(meta(metaIifName), isNot(name16("eth0")...), meta(metaIifName), isNot(name16("eth1")...)), of(No, Some), Yes},
			{"a number", and(meta(metaIif), is(native(2)...)), Some, No},
			{"a number of no link", and(meta(metaIif), is(native(9)...)), of(No, Some), No},
			{"one link by number and another by name", and(meta(metaIif), is(native(2)...), name("eth1")), of(No, Some), No},
			{"a set of numbers", and(meta(metaIif), lookIn("eth0", 0)), Some, No},
			{"a set of all numbers", and(meta(metaIif), lookIn("all", 0)), of(Yes, Some), No},
			{"a group", and(meta(metaIifGroup), is(native(7)...), name("eth1")), of(No, Some), No},
			{"a group as iptables asks for it", and(devgroup(1, 7, ^uint32(0)), name("eth1")), of(No, Some), No},
			{"not a group as iptables asks for it", and(devgroup(3, 7, ^uint32(0)), name("eth0")), of(No, Some), No},
			{"some bits of a group", and(devgroup(1, 0xf7, 0xf), name("eth0")), Some, No},
			{"a group that packets leave by", and(devgroup(4, 0, 0), name("eth0")), Some, No},
			{"a group of none", and(meta(metaIifGroup), is(native(8)...)), of(No, Some), No},
			{"groups", and(meta(metaIifGroup), lookIn("groups", 0), name("eth0")), Some, No},
			{"groups of others", and(meta(metaIifGroup), lookIn("groups", 0), name("eth1")), of(No, Some), No},
		})
	}
}

// devgroup is the match of that name, on the link that packets come by.
func devgroup(flags, group, mask uint32) exprs {
	var b []byte
	for _, n := range []uint32{flags, group, mask, 0, 0} {
		b = binary.NativeEndian.AppendUint32(b, n)
	}
	return exprs{{Name: "match", Attrs: nft.Attrs{}.With(1, zstr("devgroup")).WithNum(2, 0).With(3, b)}}
}

// A set that is too long is named.
func TestUnlisted(t *testing.T) {
	src := &ruleset{family: nft.Inet, sets: map[string]fakeSet{"long": {fields: []int{4}, long: true}},
		chains: map[string][]nft.Rule{"pre": rulesOf(and(load(1, 12, 4), lookIn("long", 0), ex("redir", nil)))}}
	if r := src.walk(t, packet4(Prerouting)); len(r.NAT) != 1 || !slices.Equal(r.NAT[0].Last().Unlisted, []string{"long"}) {
		t.Errorf("got %+v", r.NAT)
	}
}
