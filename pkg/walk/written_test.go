// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"testing"

	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// store writes what is in the first register into a header.
func store(base, off, n uint32) exprs {
	return ex("payload", map[uint16]uint32{2: base, 3: off, 4: n, 5: 1})
}

// setDSCP is "ip dscp set".
func setDSCP(n byte) exprs {
	return and(load(1, 0, 2), masked([]byte{0xff, 0x03}, []byte{0, n << 2}), store(1, 0, 2))
}

// dscp begins "ip dscp".
func dscp() exprs { return and(load(1, 1, 1), masked([]byte{0xfc}, []byte{0})) }

func xtables(kind, name string, data ...byte) exprs {
	i := xt.Info{Name: name, Data: append(data, make([]byte, 8-len(data))...)}
	if kind == "match" {
		return exprs{xt.MatchExpr(i)}
	}
	return exprs{xt.TargetExpr(i)}
}

func label(bit byte) []byte { return append([]byte{bit}, make([]byte, 15)...) }

func setLabel(bit byte) exprs {
	return and(immediate(1, label(bit)), ex("ct", map[uint16]uint32{2: ctLabels, 4: 1}))
}

// What a rule wrote is what a later one finds.
func TestWritten(t *testing.T) {
	const ttl, priority, labels = 8, 2, ctLabels
	setTTL := and(immediate(1, []byte{77}), store(1, ttl, 1))
	setPriority := and(immediate(1, native(7)), ex("meta", map[uint16]uint32{2: priority, 3: 1}))
	hasLabel := func(bit byte) exprs {
		return and(ct(labels), masked(label(bit), make([]byte, 16)), isNot(make([]byte, 16)...))
	}
	checkMatches(t, packet4, map[string]fakeSet{"priorities": {fields: []int{4}, elems: keys(native(7))}}, []matchCase{
		{"nothing", and(dscp(), is(8<<2)), Some, Some},
		{"the class", and(setDSCP(8), dscp(), is(8<<2)), Yes, Yes},
		{"another class", and(setDSCP(8), dscp(), is(9<<2)), No, No},
		{"not another class", and(setDSCP(8), dscp(), isNot(9<<2)), Yes, Yes},
		{"a class and then another one", and(setDSCP(8), setDSCP(9), dscp(), is(8<<2)), No, No},
		{"a class between two", and(setDSCP(8), dscp(), within(0, []byte{4 << 2}, []byte{12 << 2})), Yes, Yes},
		{"bits that were not written", and(setDSCP(8), load(1, 1, 1), masked([]byte{0x03}, []byte{0}), is(1)), Some, Some},
		{"bits that were, and others", and(setDSCP(8), load(1, 1, 1), is(0x21)), Some, Some},
		{"a class that is drawn", and(setDSCP(8), ex("numgen", map[uint16]uint32{1: 1, 2: 64}), store(1, 1, 1), dscp(), is(8<<2)), Some, Some},
		{"a class, and what is in the header of the link", and(setDSCP(8), immediate(1, []byte{0, 0}), store(0, 14, 2), dscp(), is(8<<2)), Some, No},
		{"how far it may go", and(setTTL, load(1, ttl, 1), is(77)), Yes, Yes},
		{"what was so before it was changed", and(setTTL, xtables("target", "TTL", 2, 1), load(1, ttl, 1), is(77)), Some, Some},
		{"TTL and ttl of xtables", and(xtables("target", "TTL", 0, 77), xtables("match", "ttl", 0, 77)), Yes, Yes},
		{"farther than that", and(xtables("target", "TTL", 0, 77), xtables("match", "ttl", 3, 77)), No, No},
		{"less far", and(setTTL, xtables("match", "ttl", 2, 78)), Yes, Yes},
		{"less far than some may go", xtables("match", "ttl", 2, 78), Some, Some},
		{"farther than nothing", xtables("match", "ttl", 3, 0), Yes, Yes},
		{"no hop to go", xtables("match", "ttl", 0, 0), No, No},
		{"the flags of TCP", and(immediate(1, []byte{0x12}), store(2, 13, 1), load(2, 13, 1), is(0x12)), Yes, Yes},
		{"flags of TCP that are drawn", and(ex("numgen", map[uint16]uint32{1: 1, 2: 64}), store(2, 13, 1), load(2, 13, 1), is(2)), Some, Some},
		{"the priority", and(setPriority, meta(priority), is(native(7)...)), Yes, Yes},
		{"another priority", and(setPriority, meta(priority), is(native(8)...)), No, No},
		{"the priority in a set", and(setPriority, meta(priority), lookIn("priorities", 0)), Yes, Yes},
		{"a label", and(setLabel(4), hasLabel(4)), Yes, Yes},
		{"another label", and(setLabel(4), hasLabel(8)), No, No},
		{"no label", hasLabel(4), No, No},
		{"labels that are drawn", and(setLabel(4), ex("numgen", map[uint16]uint32{1: 1, 2: 64}), ex("ct", map[uint16]uint32{2: labels, 4: 1}), hasLabel(8)), Some, Some},
		{"and one that was set before", and(setLabel(4), ex("numgen", map[uint16]uint32{1: 1, 2: 64}), ex("ct", map[uint16]uint32{2: labels, 4: 1}), hasLabel(4)), Yes, Yes},
		{"two labels", and(setLabel(4), setLabel(8), hasLabel(4)), Yes, Yes},
		{"TOS and tos of xtables", and(xtables("target", "TOS", 0x10, 0xff), xtables("match", "tos", 0x10, 0x10, 0)), Yes, Yes},
		{"bits that TOS turns", and(xtables("target", "TOS", 0x10, 0), xtables("match", "tos", 0x10, 0x10, 0)), Some, Some},
		{"not the class of DSCP", and(xtables("target", "DSCP", 8), xtables("match", "dscp", 8, 1)), No, No},
		{"connlabel", and(xtables("match", "connlabel", 5, 0, 2, 0), xtables("match", "connlabel", 5, 0)), Yes, Yes},
		{"not connlabel", and(xtables("match", "connlabel", 5, 0, 2, 0), xtables("match", "connlabel", 5, 0, 1, 0)), No, No},
		{"CLASSIFY", and(xtables("target", "CLASSIFY", native(7)...), meta(priority), is(native(7)...)), Yes, Yes},
	})
}

// What is written into one packet is in no other one, and of packets of two kinds nothing is known
// that only one has.
func TestWrittenIsOfThePacket(t *testing.T) {
	p := packet4(Prerouting)
	src := &ruleset{family: nft.Inet, chains: map[string][]nft.Rule{"pre": rulesOf(setDSCP(8), setLabel(4))}}
	res := src.walk(t, p)
	if len(res.Next) != 1 || res.Next[0].memory == "" {
		t.Fatalf("nothing was written: %+v", res.Next)
	}
	if s := p.Start().Remembered(res.Next); len(s) > 0 {
		t.Errorf("another connection has %q", s[0].memory)
	}
	x := &run{}
	for kind, s := range map[string]Space{"later packets": res.Next.Later(p.Start()).Or(p.Start()), "by lo": res.Next.Looped()} {
		for _, b := range s {
			if bits, _ := x.known(b.memory, 1, 1); bits != 0 {
				t.Errorf("%s: %q", kind, b.memory)
			}
		}
	}
	if bits, _ := x.known(res.Next[0].memory.or(""), 1, 1); bits != 0 {
		t.Errorf("of both: %#x", bits)
	}
	if bits, value := x.known(res.Next[0].memory, 1, 1); bits != 0xfc || value != 0x20 {
		t.Errorf("known: %#x of %#x", value, bits)
	}
}
