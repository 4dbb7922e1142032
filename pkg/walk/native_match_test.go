// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

type matchCase struct {
	name        string
	match       exprs
	pre, output Tri
}

// checkMatches asks whether a rule that redirects what it matches is on the way
// of a packet in PREROUTING and in OUTPUT.
func checkMatches(t *testing.T, packet func(Hook) Packet, sets map[string]fakeSet, cases []matchCase) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			for h, want := range map[Hook]Tri{Prerouting: tt.pre, Output: tt.output} {
				src := &ruleset{family: nft.Inet, sets: sets, chains: map[string][]nft.Rule{
					"pre": rulesOf(and(tt.match, ex("redir", nil)), ex("masq", nil))}}
				r := src.walk(t, packet(h))
				got := No
				if len(r.NAT) > 0 {
					got = r.NAT[0].Match
				}
				if got != want {
					t.Errorf("%s: got %v, want %v", h, got, want)
				}
				// What the rule does not take goes on to the next.
				if goesOn := len(r.End) == 1; goesOn != (want != Yes) {
					t.Errorf("%s: some packets go on: %v, want %v", h, goesOn, want != Yes)
				}
			}
		})
	}
}

func ct(key uint32) exprs { return ex("ct", map[uint16]uint32{1: 1, 2: key}) }

func ctDirected(key uint32, dir byte) exprs { return with(ct(key), 3, []byte{dir}) }

func fib(result, flags uint32) exprs { return ex("fib", map[uint16]uint32{1: 1, 2: result, 3: flags}) }

func TestNativeMatchOfTheConnection(t *testing.T) {
	const saddr, daddr, iif, established = 1, 2, 8, 2
	checkMatches(t, packet4, nil, []matchCase{
		{"no match at all takes everything", nil, Yes, Yes},
		{"the protocol", and(meta(metaL4proto), is(6)), Yes, Yes},
		{"another protocol", and(meta(metaL4proto), is(17)), No, No},
		{"not another protocol", and(meta(metaL4proto), isNot(17)), Yes, Yes},
		{"the family", and(meta(metaNfproto), is(2)), Yes, Yes},
		{"another family", and(meta(metaNfproto), is(10)), No, No},
		{"the protocol of the link", and(meta(metaProtocol), is(8, 0)), Yes, Yes},
		{"the protocol in the header", and(load(1, 9, 1), is(6)), Yes, Yes},
		{"another protocol in the header", and(load(1, 9, 1), is(17)), No, No},
		{"other things about the packet", and(meta(2), is(1, 2, 3, 4)), Some, Some},

		{"an interface", and(meta(metaIifName), is(name16("eth0")...)), Some, No},
		{"not an interface", and(meta(metaIifName), isNot(name16("docker0")...)), Some, Yes},
		{"a wildcard of interfaces", and(meta(metaIifName), is([]byte("eth")...)), Some, No},
		{"a wildcard and another interface", and(meta(metaIifName), is([]byte("eth")...), meta(metaIifName), is(name16("docker0")...)), No, No},
		{"a wildcard and not one of its interfaces", and(meta(metaIifName), is([]byte("eth")...), meta(metaIifName), isNot(name16("eth0")...)), Some, No},
		{"an interface and not its wildcard", and(meta(metaIifName), is(name16("eth0")...), meta(metaIifName), isNot([]byte("eth")...)), No, No},
		{"what iptables-nft writes for no interface", and(meta(metaIifName), is([]byte("INVAL/D\x00")...)), No, No},
		{"what comes through lo is not new", and(meta(metaIifName), is(name16("lo")...)), No, No},
		{"local packets leave through lo", and(meta(metaOifName), is(name16("lo")...)), No, Yes},
		{"local packets leave through no other", and(meta(metaOifName), is(name16("eth0")...)), No, No},
		{"they do leave through not another", and(meta(metaOifName), isNot(name16("eth0")...)), Yes, Yes},

		{"the state new", and(ct(ctState), masked(native(8), native(0)), isNot(native(0)...)), Yes, Yes},
		{"the state established", and(ct(ctState), masked(native(established), native(0)), isNot(native(0)...)), No, No},
		{"the exact state", and(ct(ctState), is(native(8)...)), Yes, Yes},
		{"the direction", and(ct(ctDir), is(0)), Yes, Yes},
		{"the other direction", and(ct(ctDir), is(1)), No, No},
		{"the original protocol", and(ctDirected(ctProtocol, 0), is(6)), Yes, Yes},
		{"the original port", and(ctDirected(ctProtoDst, 0), is(0, 80)), Yes, Yes},
		{"another original port", and(ctDirected(ctProtoDst, 0), is(0, 81)), No, No},
		{"a port of the reply", and(ctDirected(ctProtoDst, 1), is(0, 81)), Some, Some},
		{"the original destination", and(ctDirected(ctDstIP, 0), is(192, 0, 2, 1)), Yes, Yes},
		{"another original destination", and(ctDirected(ctDst, 0), is(192, 0, 2, 9)), No, No},
		{"the original source", and(ctDirected(ctSrcIP, 0), is(10, 0, 0, 1)), Some, Some},
		{"an original source of the other family", and(ctDirected(ctSrcIP6, 0), is(ip("fd00::1")...)), Some, Some},
		{"the destination of the reply", and(ctDirected(ctDstIP, 1), is(192, 0, 2, 9)), Some, Some},
		{"the status of a new one", and(ct(2), is(native(32)...)), No, No},

		{"not by the link with index 1, which is lo", and(meta(metaOif), isNot(native(1)...)), Yes, No},
		{"a local destination", and(fib(3, daddr), is(native(2)...)), Yes, Yes},
		{"no local destination", and(fib(3, daddr), isNot(native(2)...)), No, No},
		{"a destination of another type", and(fib(3, daddr), is(native(3)...)), No, No},
		{"a local destination on the interface", and(fib(3, daddr|iif), is(native(2)...)), Some, Some},
		{"a multicast destination on the interface", and(fib(3, daddr|iif), is(native(5)...)), No, No},
		{"a broadcast source on the interface", and(fib(3, saddr|iif), is(native(3)...)), No, No},
		{"no broadcast destination on the interface", and(fib(3, daddr|iif), isNot(native(3)...)), Yes, Yes},
		{"a local source", and(fib(3, saddr), is(native(2)...)), Some, Some},
		{"a local source that is no local address", and(fib(3, saddr), is(native(2)...), load(1, 12, 4), is(10, 0, 0, 1)), No, No},
		{"no local source that is a local address", and(fib(3, saddr), isNot(native(2)...), load(1, 12, 4), is(192, 0, 2, 2)), No, No},
		{"a source that is a unicast address", and(fib(3, saddr), is(native(1)...), load(1, 12, 4), is(192, 0, 2, 2)), No, No},
		{"a source of another address that is none", and(fib(3, saddr), isNot(native(1)...), load(1, 12, 4), is(10, 0, 0, 1)), No, No},
		{"a source of another type", and(fib(3, saddr), is(native(4)...)), Some, Some},
		{"a broadcast source", and(fib(3, saddr), is(native(3)...)), No, No},
		{"the way back to the source", and(fib(1, saddr|iif), is(native(0)...)), Some, Some},
	})
}

func TestNativeMatchOfPortsAndAddresses(t *testing.T) {
	lo, hi := be16(70), be16(90)
	checkMatches(t, packet4, nil, []matchCase{
		{"the port", and(dport(), is(0, 80)), Yes, Yes},
		{"another port", and(dport(), is(0, 81)), No, No},
		{"not another port", and(dport(), isNot(0, 81)), Yes, Yes},
		{"below the port", and(dport(), test1(cmpLT, be16(80))), No, No},
		{"up to the port", and(dport(), test1(cmpLTE, be16(80))), Yes, Yes},
		{"above the port", and(dport(), test1(cmpGT, be16(80))), No, No},
		{"from the port on", and(dport(), test1(cmpGTE, be16(80))), Yes, Yes},
		{"above a lower port", and(dport(), test1(cmpGT, be16(79))), Yes, Yes},
		{"a range with the port", and(dport(), within(cmpEQ, lo, hi)), Yes, Yes},
		{"a range without the port", and(dport(), within(cmpEQ, be16(81), hi)), No, No},
		{"a range ends with its end", and(dport(), within(cmpEQ, lo, be16(80))), Yes, Yes},
		{"not a range with the port", and(dport(), within(cmpNEQ, lo, hi)), No, No},
		{"not a range without the port", and(dport(), within(cmpNEQ, be16(81), hi)), Yes, Yes},
		{"the port in another order", and(dport(), ex("byteorder", map[uint16]uint32{1: 1, 2: 1, 3: 0, 4: 2, 5: 2}), is(80, 0)), Yes, Yes},
		{"masked bits of the port", and(dport(), masked(be16(0xfff0), be16(0)), is(0, 80)), Yes, Yes},
		{"flipped bits of the port", and(dport(), masked(be16(0xffff), be16(1)), is(0, 81)), Yes, Yes},
		{"a source port", and(load(2, 0, 2), is(0, 80)), Some, Some},
		{"a range of source ports", and(load(2, 0, 2), within(cmpEQ, lo, hi)), Some, Some},

		{"the destination", and(load(1, 16, 4), is(192, 0, 2, 1)), Yes, Yes},
		{"another destination", and(load(1, 16, 4), is(192, 0, 2, 2)), No, No},
		{"not the destination", and(load(1, 16, 4), isNot(192, 0, 2, 1)), No, No},
		{"the first byte of the destination", and(load(1, 16, 1), is(192)), Yes, Yes},
		{"another first byte", and(load(1, 16, 1), is(10)), No, No},
		{"three bytes of the destination", and(load(1, 16, 3), is(192, 0, 2)), Yes, Yes},
		{"three other bytes", and(load(1, 16, 3), isNot(192, 0, 2)), No, No},
		{"a masked destination", and(load(1, 16, 4), masked(ip("255.255.254.0"), ip("0.0.0.0")), is(192, 0, 2, 0)), Yes, Yes},
		{"another masked destination", and(load(1, 16, 4), masked(ip("255.255.255.252"), ip("0.0.0.0")), is(192, 0, 2, 4)), No, No},
		{"a range of destinations", and(load(1, 16, 4), within(cmpEQ, ip("192.0.2.0"), ip("192.0.2.1"))), Yes, Yes},
		{"not a range of destinations", and(load(1, 16, 4), within(cmpNEQ, ip("192.0.2.0"), ip("192.0.2.1"))), No, No},
		{"destinations above", and(load(1, 16, 4), test1(cmpGT, ip("192.0.2.1"))), No, No},
		{"destinations below", and(load(1, 16, 4), test1(cmpLT, ip("192.0.2.2"))), Yes, Yes},

		{"a source", and(load(1, 12, 4), is(10, 0, 0, 1)), Some, Some},
		{"a source twice", and(load(1, 12, 1), is(10), load(1, 12, 4), is(10, 0, 0, 1)), Some, Some},
		{"a source beside its prefix", and(load(1, 12, 1), is(10), load(1, 12, 4), is(11, 0, 0, 1)), No, No},
		{"a prefix is no single source", and(load(1, 12, 1), is(10), load(1, 12, 4), isNot(10, 0, 0, 0)), Some, Some},
		{"a source within three bytes", and(load(1, 12, 3), is(10, 0, 0), load(1, 12, 4), isNot(10, 0, 0, 0), load(1, 12, 4), is(10, 0, 1, 0)), No, No},
		{"a range of sources and one beside it", and(load(1, 12, 4), within(cmpEQ, ip("10.0.0.1"), ip("10.0.0.9")), load(1, 12, 4), is(10, 0, 0, 10)), No, No},
		{"not a range of sources and one of it", and(load(1, 12, 4), within(cmpNEQ, ip("10.0.0.1"), ip("10.0.0.9")), load(1, 12, 4), is(10, 0, 0, 9)), No, No},
		{"not a range of sources and one beside it", and(load(1, 12, 4), within(cmpNEQ, ip("10.0.0.1"), ip("10.0.0.9")), load(1, 12, 4), is(10, 0, 0, 10)), Some, Some},
		{"every source", and(load(1, 12, 4), masked(ip("0.0.0.0"), ip("0.0.0.0")), is(0, 0, 0, 0)), Yes, Yes},
		{"a mask that no source passes", and(load(1, 12, 4), masked(ip("255.0.0.0"), ip("0.0.0.0")), is(10, 0, 0, 1)), No, No},
		{"the middle of a source", and(load(1, 13, 2), is(0, 0)), Some, Some},
		{"the end of a source of one network", and(load(1, 12, 3), is(10, 0, 0), load(1, 15, 1), is(9)), Some, Some},
		{"and another address of it", and(load(1, 12, 3), is(10, 0, 0), load(1, 15, 1), is(9), load(1, 12, 4), is(10, 0, 0, 8)), No, No},
		{"that address", and(load(1, 12, 3), is(10, 0, 0), load(1, 15, 1), is(9), load(1, 12, 4), isNot(10, 0, 0, 9)), No, No},
		{"not the end, and that address", and(load(1, 12, 3), is(10, 0, 0), load(1, 15, 1), isNot(9), load(1, 12, 4), is(10, 0, 0, 9)), No, No},
		{"a mask with holes", and(load(1, 12, 4), masked(ip("255.0.0.255"), ip("0.0.0.0")), is(10, 0, 0, 1)), Some, Some},
	})
}

func TestNativeMatchOfIPv6(t *testing.T) {
	checkMatches(t, packet6, nil, []matchCase{
		{"the family", and(meta(metaNfproto), is(10)), Yes, Yes},
		{"another family", and(meta(metaNfproto), is(2)), No, No},
		{"the protocol of the link", and(meta(metaProtocol), is(0x86, 0xdd)), Yes, Yes},
		{"the next header may be another", and(load(1, 6, 1), is(6)), Some, Some},
		{"the next header is no other protocol", and(load(1, 6, 1), is(17)), No, No},
		{"the destination", and(load(1, 24, 16), is(ip("2001:db8::1")...)), Yes, Yes},
		{"eight bytes of the destination", and(load(1, 24, 8), is(ip("2001:db8::")[:8]...)), Yes, Yes},
		{"eight other bytes", and(load(1, 24, 8), is(ip("2001:db9::")[:8]...)), No, No},
		{"eight bytes of a source and another", and(load(1, 8, 8), is(ip("fd00::")[:8]...), load(1, 8, 16), is(ip("fd00:0:0:1::1")...)), No, No},
		{"eight bytes of a source and one of them", and(load(1, 8, 8), is(ip("fd00::")[:8]...), load(1, 8, 16), is(ip("fd00::1")...)), Some, Some},
		{"a masked source and another", and(load(1, 8, 16), masked(ip("fe00::"), ip("::")), is(ip("fc00::")...), load(1, 8, 16), is(ip("fe00::1")...)), No, No},
		{"no packet comes from ::1", and(load(1, 8, 16), is(ip("::1")...)), No, Some},
		{"the original destination", and(ctDirected(22, 0), is(ip("2001:db8::1")...)), Yes, Yes},
		{"the local port", and(dport(), is(0, 80)), Yes, Yes},
	})
}

func TestNativeMatchOfAnAbsentAddress(t *testing.T) {
	checkMatches(t, func(h Hook) Packet {
		p := packet4(h)
		p.Absent, p.Proto, p.Local = true, hostport.UDP, nil
		return p
	}, nil, []matchCase{
		{"where it would leave is open", and(meta(metaOifName), is(name16("lo")...)), No, Some},
		{"the protocol is udp", and(meta(metaL4proto), is(17)), Yes, Yes},
		{"without local addresses a source's type is open", and(fib(3, 1), is(native(2)...), load(1, 12, 4), is(10, 0, 0, 1)), Some, Some},
	})
}

func TestNativeMatchOfMarks(t *testing.T) {
	mark := func(mask uint32) exprs { return and(meta(metaMark), masked(native(mask), native(0))) }
	orMark := func(n uint32) exprs {
		return and(meta(metaMark), masked(native(^n), native(n)), ex("meta", map[uint16]uint32{2: metaMark, 3: 1}))
	}
	shift := func(op, by uint32) exprs {
		return with(ex("bitwise", map[uint16]uint32{1: 1, 2: 1, 3: 4, 6: op}), 7, attr(1, native(by)))
	}
	drawMark := and(ex("numgen", map[uint16]uint32{1: 1, 2: 2}), ex("meta", map[uint16]uint32{2: metaMark, 3: 1}))
	checkMatches(t, packet4, nil, []matchCase{
		{"a mark from elsewhere", and(meta(metaMark), is(native(1)...)), Unknown, Unknown},
		{"bits of a mark from elsewhere", and(mark(0x4000), is(native(0x4000)...)), Unknown, Unknown},
		{"a mark above another", and(meta(metaMark), test1(cmpGT, native(1))), Unknown, Unknown},
		{"a shifted mark", and(meta(metaMark), shift(bitwiseRshift, 4), is(native(1)...)), Unknown, Unknown},
		{"a shifted mark that was set", and(setMark(0x30), meta(metaMark), shift(bitwiseRshift, 4), is(native(3)...)), Yes, Yes},
		{"shifted to the left", and(setMark(3), meta(metaMark), shift(bitwiseLshift, 4), is(native(0x30)...)), Yes, Yes},
		{"a shifted byte of a header", and(load(1, 1, 1), shift(bitwiseRshift, 2), is(46)), Some, Some},
		{"two registers in one", and(load(1, 1, 1), ex("bitwise", map[uint16]uint32{1: 1, 2: 1, 3: 4, 6: 4, 8: 2}), is(native(1)...)), Some, Some},
		{"two registers, with a mark", and(to(2, meta(metaMark)), load(1, 1, 1), ex("bitwise", map[uint16]uint32{1: 1, 2: 1, 3: 4, 6: 4, 8: 2}), is(native(1)...)), Unknown, Unknown},
		{"a mark that was set", and(setMark(7), meta(metaMark), is(native(7)...)), Yes, Yes},
		{"not the mark that was set", and(setMark(7), meta(metaMark), isNot(native(7)...)), No, No},
		{"a bit of the mark that was set", and(setMark(0x4001), mark(0x4000), is(native(0)...)), No, No},
		{"a bit that was added", and(orMark(0x4000), mark(0x4000), isNot(native(0)...)), Yes, Yes},
		{"another bit than was added", and(orMark(0x4000), mark(0x8000), isNot(native(0)...)), Unknown, Unknown},
		{"a bit after the same bit", and(mark(1), is(native(1)...), mark(1), is(native(0)...)), No, No},
		{"a mark of something open", and(load(2, 0, 2), ex("meta", map[uint16]uint32{2: metaMark, 3: 1}), meta(metaMark), is(native(1)...)), Some, Some},
		{"a mark of something unread", and(ex("exthdr", nil), ex("meta", map[uint16]uint32{2: metaMark, 3: 1}), meta(metaMark), is(native(1)...)), Some, Some},
		{"a mark that is drawn", and(drawMark, meta(metaMark), is(native(1)...)), Some, Some},
		{"not one that is drawn", and(drawMark, meta(metaMark), isNot(native(1)...)), Some, Some},
		{"a bit above those that are drawn", and(drawMark, mark(2), is(native(2)...)), No, No},
		{"a drawn mark below another", and(drawMark, meta(metaMark), test1(cmpLT, native(2))), Yes, Yes},
		{"a drawn mark that is none", and(drawMark, meta(metaMark), is(native(2)...)), No, No},
		{"one of many drawn marks", and(ex("numgen", map[uint16]uint32{1: 1, 2: maxDrawn + 1}), ex("meta", map[uint16]uint32{2: metaMark, 3: 1}), meta(metaMark), is(native(7)...)), Some, Some},
		{"a drawn mark that is changed", and(drawMark, orMark(4), mark(4), is(native(4)...)), Yes, Yes},
		{"a drawn mark and another bit", and(drawMark, orMark(4), mark(3), is(native(1)...)), Some, Some},
		{"another setting of meta is none of the mark", and(setMark(7), immediate(1, native(9)), ex("meta", map[uint16]uint32{2: 2, 3: 1}), meta(metaMark), is(native(7)...)), Yes, Yes},
		{"a mark of the connection that is set", and(immediate(1, native(9)), ex("ct", map[uint16]uint32{2: 3, 4: 1})), Yes, Yes},
	})
}
