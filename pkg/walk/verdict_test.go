// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

func redir() exprs { return ex("redir", nil) }

func udpOnly() exprs { return and(meta(metaL4proto), is(17)) }

func fromTen() exprs { return and(load(1, 12, 1), is(10)) }

func jump(chain string) exprs { return ends1(nft.Jump, chain) }

func goTo(chain string) exprs { return ends1(nft.Goto, chain) }

func ret() exprs { return ends1(nft.Return, "") }

func TestNativeVerdicts(t *testing.T) {
	dnat := func(family uint8) exprs {
		return and(immediate(1, ip("10.0.0.9")), ex("nat", map[uint16]uint32{1: 1, 2: uint32(family), 3: 1}))
	}
	for _, tt := range []struct {
		name  string
		rules []exprs
		want  string
	}{
		{"no rules translate nothing", nil, ""},
		{"dnat", []exprs{dnat(nft.IPv4)}, "yes dnat via pre"},
		{"dnat of the other family passes", []exprs{dnat(nft.IPv6)}, ""},
		{"snat ends", []exprs{ex("nat", map[uint16]uint32{1: 0, 2: 2, 3: 1})}, "end yes snat via pre"},
		{"redir", []exprs{redir()}, "yes redirect via pre"},
		{"tproxy", []exprs{ex("tproxy", map[uint16]uint32{1: 2})}, "yes tproxy via pre"},
		{"masq ends", []exprs{ex("masq", nil), redir()}, "end yes masq via pre"},
		{"reject ends", []exprs{ex("reject", nil), redir()}, "end yes reject via pre"},
		{"queue ends", []exprs{ex("queue", nil), redir()}, "end yes queue via pre"},
		{"the queue verdict ends", []exprs{ends1(nft.Queue, ""), redir()}, "end yes queue via pre"},
		{"accept hides what follows", []exprs{ends1(nft.Accept, ""), redir()}, "end yes accept via pre"},
		{"accept of others does not", []exprs{and(udpOnly(), ends1(nft.Accept, "")), redir()}, "yes redirect via pre"},
		{"accept of some leaves the rest", []exprs{and(fromTen(), ends1(nft.Accept, "")), redir()}, "yes redirect via pre; end some accept via pre"},
		{"continue goes on with the rule", []exprs{and(ends1(nft.Continue, ""), redir())}, "yes redirect via pre"},
		{"break leaves it", []exprs{and(ends1(nft.Break, ""), redir())}, ""},
		{"a verdict nobody knows", []exprs{ends1(99, ""), redir()}, "unknown verdict 99 via pre; yes redirect via pre"},

		{"counters and logs pass", []exprs{and(ex("counter", nil), ex("log", nil), ex("last", nil), ex("notrack", nil), redir())}, "yes redirect via pre"},
		{"limits are open", []exprs{and(ex("limit", nil), redir()), dnat(nft.IPv4)}, "some redirect via pre; yes dnat via pre"},
		{"quotas are open", []exprs{and(ex("quota", nil), redir())}, "some redirect via pre"},
		{"extension headers are open", []exprs{and(ex("exthdr", map[uint16]uint32{1: 1}), is(1), redir()), dnat(nft.IPv4)}, "some redirect via pre; yes dnat via pre"},
		{"chance is open", []exprs{and(ex("numgen", map[uint16]uint32{1: 1}), is(native(0)...), redir())}, "some redirect via pre"},
		{"a hash is open, whatever was in its register", []exprs{and(dport(), ex("hash", map[uint16]uint32{1: 2, 2: 1, 4: 2}), is(native(0)...), redir())}, "some redirect via pre"},
		{"what was loaded before something open is forgotten", []exprs{and(dport(), ex("rt", map[uint16]uint32{2: 1}), is(0, 81), redir())}, "some redirect via pre"},
		{"what nobody listens for has no socket", []exprs{and(ex("socket", map[uint16]uint32{1: 0, 2: 1}), is(1), redir()), and(xtables1("match", "socket"), redir())}, ""},

		{"the comment of iptables passes", []exprs{and(xtables1("match", "comment"), redir())}, "yes redirect via pre"},
		{"other matches of iptables are not understood", []exprs{and(xtables1("match", "tcp"), redir())}, "unknown redirect via pre"},
		{"DNAT of iptables", []exprs{xtables1("target", "DNAT"), redir()}, "yes DNAT via pre"},
		{"ACCEPT-like targets of iptables end", []exprs{xtables1("target", "MASQUERADE"), redir()}, "end yes MASQUERADE via pre"},
		{"targets of iptables that only log", []exprs{xtables1("target", "LOG"), redir()}, "yes redirect via pre"},
		{"a MARK of iptables that is cut off makes the mark unknown", []exprs{and(setMark(1), xtables1("target", "MARK")), and(meta(metaMark), is(native(1)...), redir())}, "unknown redirect via pre"},
		{"a CONNMARK of iptables that is cut off makes the mark unknown", []exprs{and(setMark(1), xtables1("target", "CONNMARK")), and(meta(metaMark), is(native(1)...), redir())}, "unknown redirect via pre"},
		{"an unknown target of iptables", []exprs{xtables1("target", "FROB"), redir()}, "unknown FROB via pre; yes redirect via pre"},
		{"an unknown expression", []exprs{ex("frob", nil), redir()}, "unknown frob via pre; yes redirect via pre"},
		{"an unknown expression that is not reached", []exprs{and(udpOnly(), ex("frob", nil)), redir()}, "yes redirect via pre"},
		{"the rule goes on behind an unknown expression", []exprs{and(ex("frob", nil), ends1(nft.Accept, "")), redir()}, "unknown frob via pre; yes redirect via pre; end unknown accept via pre"},
		{"writing into the packet", []exprs{with(load(2, 2, 2), 5, be32(1)), redir()}, "yes rewrite via pre"},
		{"behind the network header", []exprs{with(load(1, 22, 2), 5, be32(1)), redir()}, "some rewrite via pre; yes redirect via pre"},
		{"behind the link header", []exprs{with(load(0, 36, 2), 5, be32(1)), redir()}, "some rewrite via pre; yes redirect via pre"},
		{"the address of a link, and a VLAN", []exprs{with(load(0, 0, 6), 5, be32(1)), with(load(0, 14, 2), 5, be32(1)), redir()}, "yes redirect via pre"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := &ruleset{family: nft.Inet, chains: map[string][]nft.Rule{"pre": rulesOf(tt.rules...)}}
			if diff := cmp.Diff(tt.want, say(src.walk(t, packet4(Prerouting)))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestNativeChains(t *testing.T) {
	for _, tt := range []struct {
		name      string
		pre, x, y []exprs
		want      string
	}{
		{"a jump is followed", []exprs{jump("x")}, []exprs{redir()}, nil, "yes redirect via pre > x"},
		{"a jump of others is not", []exprs{and(udpOnly(), jump("x"))}, []exprs{redir()}, nil, ""},
		{"the end of a chain returns", []exprs{jump("x"), redir()}, nil, nil, "yes redirect via pre"},
		{"return returns", []exprs{jump("x"), redir()}, []exprs{ret(), ends1(nft.Drop, "")}, nil, "yes redirect via pre"},
		{"return of some goes on with the rest", []exprs{jump("x"), redir()}, []exprs{and(fromTen(), ret()), ends1(nft.Drop, "")}, nil, "yes redirect via pre; end yes drop via pre > x"},
		{"return from a base chain is its policy", []exprs{ret(), redir()}, nil, nil, ""},
		{"who returns from a goto leaves the chain", []exprs{goTo("x"), redir()}, nil, nil, ""},
		{"return from a goto leaves the chain", []exprs{goTo("x"), redir()}, []exprs{ret()}, nil, ""},
		{"a goto of some leaves the rest", []exprs{and(fromTen(), goTo("x")), redir()}, nil, nil, "yes redirect via pre"},
		{"who returns from a goto comes back behind the jump", []exprs{jump("x"), redir()}, []exprs{goTo("y"), ends1(nft.Drop, "")}, nil, "yes redirect via pre"},
		{"and none of them is in the chain between", []exprs{jump("x")}, []exprs{goTo("y"), redir()}, []exprs{ret()}, ""},
		{"accept in a chain ends the base chain", []exprs{jump("x"), redir()}, []exprs{ends1(nft.Accept, "")}, nil, "end yes accept via pre > x"},
		{"the weakest match on the way counts", []exprs{and(fromTen(), jump("x"))}, []exprs{jump("y")}, []exprs{redir()}, "some redirect via pre > x > y"},
		{"Unknown on the way counts more", []exprs{and(xtables1("match", "frob"), jump("x"))}, []exprs{and(load(2, 0, 2), is(0, 1), redir())}, nil, "unknown redirect via pre > x"},
		{"a mark is carried to the next rule", []exprs{setMark(1), and(meta(metaMark), is(native(1)...), redir())}, nil, nil, "yes redirect via pre"},
		{"a mark of the connection is what was to be expected of the packet", []exprs{and(meta(metaMark), ex("ct", map[uint16]uint32{2: 3, 4: 1})), and(ct(3), isNot(native(1)...), ends1(nft.Accept, "")), redir()}, nil, nil, "unknown redirect via pre; end yes accept via pre"},
		{"and so in a comparison of sizes", []exprs{and(meta(metaMark), ex("ct", map[uint16]uint32{2: 3, 4: 1})), and(ct(3), test1(cmpLT, native(1)), ends1(nft.Accept, "")), redir()}, nil, nil, "unknown redirect via pre; end yes accept via pre"},
		{"a mark is carried into a chain", []exprs{setMark(1), jump("x")}, []exprs{and(meta(metaMark), isNot(native(1)...), redir())}, nil, ""},
		{"a mark is carried out of a chain", []exprs{jump("x"), and(meta(metaMark), is(native(2)...), redir())}, []exprs{setMark(2)}, nil, "yes redirect via pre"},
		{"a mark is carried out with return", []exprs{jump("x"), and(meta(metaMark), is(native(2)...), redir())}, []exprs{and(setMark(2), ret()), setMark(3)}, nil, "yes redirect via pre"},
		{"a mark tells the sources", []exprs{setMark(0), and(fromTen(), setMark(1)), and(meta(metaMark), is(native(1)...), load(1, 12, 1), isNot(10), redir())}, nil, nil, ""},
		{"a mark that was set before a mismatch stays", []exprs{and(setMark(1), udpOnly()), and(meta(metaMark), is(native(1)...), redir())}, nil, nil, "yes redirect via pre"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := &ruleset{family: nft.IPv4, chains: map[string][]nft.Rule{"pre": rulesOf(tt.pre...), "x": rulesOf(tt.x...), "y": rulesOf(tt.y...)}}
			if diff := cmp.Diff(tt.want, say(src.walk(t, packet4(Prerouting)))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// To is where a translation leads, as far as the registers tell.
func TestNativeTranslationTargets(t *testing.T) {
	port := func(e exprs) exprs {
		return and(e, immediate(2, be16(8080)), ex("nat", map[uint16]uint32{1: 1, 2: 2, 3: 1, 5: 2}))
	}
	for _, tt := range []struct {
		name, want string
		rule       exprs
	}{
		{"an address", "10.0.0.9", and(immediate(1, ip("10.0.0.9")), dnat4())},
		{"an address and a port", "10.0.0.9:8080", port(immediate(1, ip("10.0.0.9")))},
		{"an open address", "", port(and(ex("numgen", map[uint16]uint32{1: 1})))},
		{"the destination's own address", "", and(load(1, 16, 4), dnat4())},
		{"a port alone", "", and(immediate(2, be16(8080)), ex("nat", map[uint16]uint32{1: 1, 2: 2, 5: 2}))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := &ruleset{family: nft.IPv4, chains: map[string][]nft.Rule{"pre": rulesOf(tt.rule)}}
			r := src.walk(t, packet4(Prerouting))
			if len(r.NAT) != 1 || r.NAT[0].Last().To != tt.want {
				t.Errorf("got %s %+v, want to %q", say(r), r.NAT, tt.want)
			}
		})
	}
	six := and(immediate(1, ip("fd00::9")), immediate(2, be16(8080)), ex("nat", map[uint16]uint32{1: 1, 2: 10, 3: 1, 5: 2}))
	src := &ruleset{family: nft.Inet, chains: map[string][]nft.Rule{"pre": rulesOf(six)}}
	if r := src.walk(t, packet6(Output)); len(r.NAT) != 1 || r.NAT[0].Last().To != "[fd00::9]:8080" {
		t.Errorf("got %s %+v", say(r), r.NAT)
	}
}

func TestNativeNamesPort(t *testing.T) {
	for name, tt := range map[string]struct {
		rule exprs
		want bool
	}{
		"the port":             {and(dport(), is(0, 80)), true},
		"the original port":    {and(ct(ctProtoDst), is(0, 80)), true},
		"a set with the port":  {and(dport(), lookIn("ports", 0)), true},
		"a source":             {fromTen(), false},
		"multiport":            {xtables1("match", "multiport"), true},
		"an ipset":             {xtables1("match", "set"), true},
		"a match without port": {xtables1("match", "mac"), false},
		"what is not known":    {and(ex("frob", nil)), true},
		"all ports but one":    {and(dport(), isNot(0, 22)), false},
		"all but some ports":   {and(dport(), lookIn("others", 1)), false},
		"all but a range":      {and(dport(), within(cmpNEQ, be16(22), be16(23))), false},
		"bits of the port":     {and(dport(), masked(be16(0xfff0), be16(0)), is(0, 80)), true},
		"a target of iptables": {xtables1("target", "FROB"), false},
	} {
		src := &ruleset{family: nft.IPv4, sets: map[string]fakeSet{"ports": {fields: []int{2}, elems: keys(be16(80))}, "others": {fields: []int{2}, elems: keys(be16(22))}},
			chains: map[string][]nft.Rule{"pre": rulesOf(and(tt.rule, redir()))}}
		r := src.walk(t, packet4(Prerouting))
		if len(r.NAT) == 0 || r.NAT[0].NamesPort() != tt.want {
			t.Errorf("%s: got %s", name, say(r))
		}
	}
}

// What the walk once had wrong.
func TestNativeRegressions(t *testing.T) {
	adjacent := fakeSet{fields: []int{4}, flags: nft.SetInterval, elems: append(keys(ip("0.0.0.0"), ip("128.0.0.0")), end(ip("128.0.0.0")))}
	accept := ends1(nft.Accept, "")
	drawn := func(set string) exprs {
		return and(ex("numgen", map[uint16]uint32{1: 1, 2: 2}), lookMap(set, 0))
	}
	two := func(a, b uint32) fakeSet {
		return fakeSet{fields: []int{4}, flags: nft.SetMap, verdicts: true, elems: []nft.Element{leads(native(a), nft.Accept, ""), leads(native(b), nft.Accept, "")}}
	}
	for _, tt := range []struct {
		name, want string
		family     hostport.Family
		rules      []exprs
	}{
		{"dnat of a port alone in an inet table is for both families", "yes dnat via pre", hostport.IPv4,
			[]exprs{and(dport(), is(0, 80), immediate(1, be16(8080)), ex("nat", map[uint16]uint32{1: 1, 2: 1, 5: 1, 6: 1, 7: 2}))}},
		{"tproxy of IPv4 in an inet table passes IPv6", "", hostport.IPv6, []exprs{ex("tproxy", map[uint16]uint32{1: 2, 2: 1, 3: 2})}},
		{"intervals that touch, as the kernel lists them", "end yes accept via pre", hostport.IPv4,
			[]exprs{and(load(1, 12, 4), lookIn("adjacent", 0), accept), redir()}},
		{"both ports in one load", "", hostport.IPv4, []exprs{and(load(2, 0, 4), is(0, 1, 0, 81), redir())}},
		{"a mark that was set with a jump to a chain that changes nothing stays", "yes redirect via pre", hostport.IPv4,
			[]exprs{setMark(0), and(setMark(1), jump("x")), and(meta(metaMark), is(native(1)...), redir())}},
		{"a map of all numbers that are drawn", "end yes accept via pre", hostport.IPv4, []exprs{drawn("all"), redir()}},
		{"a map of one that is and one that is not", "yes redirect via pre; end some accept via pre", hostport.IPv4, []exprs{drawn("one"), redir()}},
		{"numbers that are drawn and flipped", "yes redirect via pre", hostport.IPv4,
			[]exprs{and(ex("numgen", map[uint16]uint32{1: 1, 2: 2}), masked(native(^uint32(0)), native(4)), lookMap("all", 0)), redir()}},
		{"a register that is not there is open", "some redirect via pre", hostport.IPv4, []exprs{and(with(is(1), 1, be32(40)), redir())}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := &ruleset{family: nft.Inet, sets: map[string]fakeSet{"adjacent": adjacent, "all": two(0, 1), "one": two(0, 5)}, chains: map[string][]nft.Rule{"pre": rulesOf(tt.rules...), "x": nil}}
			p := packet4(Prerouting)
			if tt.family == hostport.IPv6 {
				p = packet6(Prerouting)
			}
			if diff := cmp.Diff(tt.want, say(src.walk(t, p))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
