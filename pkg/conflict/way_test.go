// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
	"github.com/portguard/portguard/pkg/xt"
)

func TestWay(t *testing.T) { check(t, wayCases(t)) }

// at makes a base chain of a native table.
func (c hookedAt) chain() nft.Chain {
	return nft.Chain{Table: nft.Table{Family: nft.Inet, Name: "t"}, Name: c.name, Type: c.typ, Hook: c.hook, Priority: c.priority}
}

type hookedAt struct {
	name, typ string
	hook      uint32
	priority  int32
	rules     [][]nft.Expr
}

// hooks is the node with such chains.
func hooks(chains ...hookedAt) Snapshot {
	src := &table4{chains: map[string][]nft.Rule{}}
	var all []nft.Chain
	for _, c := range chains {
		all = append(all, c.chain())
		src.chains[c.name] = nil
		for _, es := range c.rules {
			src.rule(c.name, "", es...)
		}
	}
	return node().native(src, all...)
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// set gives a mark, the packet's or the connection's.
func set(expr string, n uint32) []nft.Expr {
	i := ex("immediate", 1, 8)
	i.Attrs = i.Attrs.With(2, attr(1, number(n)))
	if expr == "ct" {
		return []nft.Expr{i, ex("ct", 2, 3, 4, 8)}
	}
	return []nft.Expr{i, ex("meta", 2, 3, 3, 8)}
}

// marked asks for a mark.
func marked(expr string, n uint32) []nft.Expr {
	c := ex("cmp", 1, 8, 2, 0)
	c.Attrs = c.Attrs.With(3, attr(1, number(n)))
	return []nft.Expr{ex(expr, 1, 8, 2, 3), c}
}

func wayCases(t testing.TB) []findCase {
	any4, redirect := attach(mapTo(v4, "")), ex("redir")
	pre := func(typ string, priority int32, rules ...[]nft.Expr) hookedAt {
		return hookedAt{typ, typ, nft.Prerouting, priority, rules}
	}
	in := func(rules ...[]nft.Expr) hookedAt { return hookedAt{"in", "filter", nft.Input, 0, rules} }
	also := slices.Concat[[]nft.Expr]
	rewrite := func(base, off, n uint32) []nft.Expr { return []nft.Expr{ex("payload", 5, 8, 2, base, 3, off, 4, n)} }
	drop, notrack := []nft.Expr{verdict(nft.Drop, "")}, []nft.Expr{ex("notrack")}
	limited := []nft.Expr{ex("limit")}
	lost := func(name string, rules ...string) Snapshot {
		return node().dump(t, v4, true, "*"+name+"\n"+table(rules)+"COMMIT\n")
	}
	frob := []nft.Expr{ex("meta", 1, 8, 2, 3)}
	template := xt.TargetExpr(xt.Info{Name: "CT", Rev: 2, Data: make([]byte, 64)})
	immediately := func(b ...byte) []nft.Expr {
		i := ex("immediate", 1, 8)
		i.Attrs = i.Attrs.With(2, attr(1, b))
		return []nft.Expr{i}
	}
	// changed is a word of the network header with some bits changed, as nft writes it.
	changed := func(off uint32, and1, and2, xor1, xor2 byte) []nft.Expr {
		b := ex("bitwise", 1, 8, 2, 8, 3, 2, 6, 0)
		b.Attrs = b.Attrs.With(4, attr(1, []byte{and1, and2})).With(5, attr(1, []byte{xor1, xor2}))
		return also([]nft.Expr{ex("payload", 1, 8, 2, 1, 3, off, 4, 2), b}, rewrite(1, off, 2))
	}
	return []findCase{
		{"a mark is carried into nat", any4, hooks(pre("filter", -140, also(dportIs(80), set("meta", 0x64))), pre("nat", -90, also(marked("meta", 0x64), []nft.Expr{redirect}))), "refuse 103", "redir"},
		{"another one is not taken", any4, hooks(pre("filter", -140, also(dportIs(80), set("meta", 0x65))), pre("nat", -90, also(marked("meta", 0x64), []nft.Expr{redirect}))), "", ""},
		{"nor that of another port, though packets may bring a mark", any4, hooks(pre("filter", -140, also(dportIs(81), set("meta", 0x64))), pre("nat", -90, also(marked("meta", 0x64), []nft.Expr{redirect}))), "warn 108", ""},
		{"a mark that is set later is not", any4, hooks(pre("nat", -100, also(marked("ct", 0x64), []nft.Expr{redirect})), pre("filter", -90, also(dportIs(80), set("ct", 0x64)))), "", ""},
		{"nor is a mark of the connection before conntrack", any4, hooks(pre("filter", -300, also(dportIs(80), set("ct", 1))), pre("nat", -90, also(marked("ct", 1), []nft.Expr{redirect}))), "", ""},
		{"a mark of the connection is carried", any4, hooks(pre("filter", -140, also(dportIs(80), set("ct", 1))), pre("nat", -90, also(marked("ct", 1), []nft.Expr{redirect}))), "refuse 103", ""},
		{"chains of type nat come before what is set behind -100, whatever their priority", any4, hooks(pre("filter", -99, also(dportIs(80), set("meta", 0x64))), pre("nat", 0, also(marked("meta", 0), dportIs(80), []nft.Expr{redirect}))), "refuse 103", ""},
		{"and behind what is set before", any4, hooks(pre("filter", -101, also(dportIs(80), set("meta", 0x64))), pre("nat", -150, also(marked("meta", 0x64), []nft.Expr{redirect}))), "refuse 103", ""},
		{"a chain at -100 may come before them", any4, hooks(pre("filter", -100, also(dportIs(80), set("meta", 0x64))), pre("nat", -150, also(marked("meta", 0x64), []nft.Expr{redirect}))), "refuse 103", ""},
		{"or behind them", any4, hooks(pre("filter", -100, also(dportIs(80), set("meta", 0x64))), pre("nat", 0, also(marked("meta", 0), dportIs(80), []nft.Expr{redirect}))), "refuse 103", ""},
		{"a rule behind portguard's that is not understood refuses", any4, hooks(pre("nat", -90, also([]nft.Expr{unknownMatch()}, []nft.Expr{redirect}))), "refuse 104", "comes after its own"},
		{"before portguard's it warns", any4, hooks(pre("nat", -100, also([]nft.Expr{unknownMatch()}, []nft.Expr{redirect}))), "warn 108", "a rule without a port"},

		{"writing another port into packets refuses", any4, hooks(pre("filter", 0, also(dportIs(80), rewrite(2, 2, 2)))), "refuse 103", "rewrite"},
		{"before conntrack, too", any4, hooks(pre("filter", -310, also(dportIs(80), rewrite(2, 2, 2)))), "refuse 103", ""},
		{"and at input", any4, hooks(in(also(dportIs(80), rewrite(1, 16, 4)))), "refuse 103", ""},
		{"of another port it does not", any4, hooks(pre("filter", 0, also(dportIs(81), rewrite(2, 2, 2)))), "", ""},
		{"counted from the header of the network, too", any4, hooks(pre("filter", 0, also(dportIs(80), rewrite(1, 22, 2)))), "refuse 103", "rewrite"},
		{"and from that of the link", any4, hooks(pre("filter", 0, also(dportIs(80), rewrite(0, 36, 2)))), "refuse 103", "rewrite"},
		{"another network of IPv6, too", attach(mapTo(v6, "")), node().dump(t, v6, true, "*mangle\n"+table([]string{"PREROUTING -d 2001:db8::/64 -j DNPT --src-pfx 2001:db8::/64 --dst-pfx fd00::/64"})+"COMMIT\n"), "refuse 103", "rewrite"},
		{"of the source it does not", attach(mapTo(v6, "")), node().dump(t, v6, true, "*mangle\n"+table([]string{"INPUT -j SNPT --src-pfx 2001:db8::/64 --dst-pfx fd00::/64"})+"COMMIT\n"), "", ""},
		{"another protocol, too", any4, hooks(pre("filter", -310, also(dportIs(80), immediately(17), rewrite(1, 9, 1)))), "refuse 103", "rewrite"},
		{"the same does not", any4, hooks(pre("filter", -310, also(dportIs(80), immediately(6), rewrite(1, 9, 1)))), "", ""},
		{"another length of the header does", any4, hooks(pre("filter", -310, also(dportIs(80), changed(0, 0xf0, 0xff, 6, 0)))), "refuse 103", "rewrite"},
		{"another DSCP does not", any4, hooks(pre("filter", -310, also(dportIs(80), changed(0, 0xff, 0x03, 0, 0xb8)))), "", ""},
		{"nor another TTL", any4, hooks(pre("filter", -310, also(dportIs(80), changed(8, 0, 0xff, 64, 0)))), "", ""},
		{"a TTL of one hop hides", any4, hooks(pre("filter", -310, also(dportIs(80), changed(8, 0, 0xff, 1, 0)))), "refuse 105", "would not work"},
		{"where another rule has them, too", any4, hooks(pre("filter", -310, also(dportIs(80), changed(8, 0, 0xff, 1, 0))), pre("nat", -100, also(dportIs(80), []nft.Expr{redirect}))), "refuse 104; refuse 105", ""},
		{"set by iptables, too", any4, hooks(pre("filter", -150, append(dportIs(80), xt.TargetExpr(xt.Info{Name: "TTL", Data: []byte{0, 1, 0, 0, 0, 0, 0, 0}})))), "refuse 105", "would not work"},
		{"a fragment does", any4, hooks(pre("filter", -310, also(dportIs(80), immediately(0x20, 0), rewrite(1, 6, 2)))), "refuse 103", "rewrite"},
		{"and no fragment does not", any4, hooks(pre("filter", -310, also(dportIs(80), immediately(0x40, 0), rewrite(1, 6, 2)))), "", ""},
		{"what is said to be for other hosts is not forwarded", any4, hooks(pre("filter", -150, also(dportIs(80), immediately(2), []nft.Expr{ex("meta", 2, 19, 3, 8)}))), "refuse 105", "would not work"},
		{"what is said to be for this host is", any4, hooks(pre("filter", -150, also(dportIs(80), immediately(0), []nft.Expr{ex("meta", 2, 19, 3, 8)}))), "", ""},
		{"writing something else does not", any4, hooks(pre("filter", 0, rewrite(1, 1, 1), rewrite(1, 20, 2), rewrite(0, 0, 6), rewrite(0, 14, 2)), in(rewrite(2, 0, 2))), "", ""},

		{"of two chains of one priority either may be first", any4, hooks(pre("filter", -150, also(marked("ct", 1), rewrite(2, 2, 2))),
			hookedAt{"other", "filter", nft.Prerouting, -150, [][]nft.Expr{also(dportIs(80), set("ct", 1))}}, later(set("ct", 2))), "refuse 103", "rewrite"},
		{"later packets have the mark that the first one gets", any4, hooks(pre("filter", -150, also(marked("ct", 1), rewrite(2, 2, 2))), later(set("ct", 1))), "refuse 103", "rewrite"},
		{"packets of another mark have not", any4, hooks(pre("filter", -150, also(marked("ct", 1), rewrite(2, 2, 2))), later(set("ct", 2))), "", ""},
		{"a mark may be set by way of others", any4, hooks(pre("filter", -150, also(marked("ct", 1), rewrite(2, 2, 2))), later(also(marked("ct", 2), set("ct", 1)), also(marked("ct", 0), set("ct", 2)))), "refuse 103", ""},
		{"or at input, where those of the mapping do not get", any4, hooks(pre("filter", -150, also(marked("ct", 1), rewrite(2, 2, 2))), in(also(dportIs(80), set("ct", 1)))), "refuse 103", ""},
		{"answered packets are written into", any4, hooks(pre("filter", -150, also(state(2), dportIs(80), rewrite(2, 2, 2)))), "refuse 103", "rewrite"},
		{"before conntrack, those that come by lo", any4, hooks(pre("filter", -300, also(state(2), dportIs(80), rewrite(2, 2, 2)))), "refuse 103", ""},
		{"nobody translates them", any4, hooks(pre("nat", -100, also(state(2), dportIs(80), []nft.Expr{redirect}))), "", ""},

		{"a drop of all hides", any4, hooks(pre("filter", -150, also(dportIs(80), drop))), "refuse 105", "would not work"},
		{"so does a drop of all that is answered", any4, hooks(pre("filter", -150, also(state(2), dportIs(80), drop))), "refuse 105", "would not work"},
		{"of every port, too", any4, hooks(pre("filter", -150, also(state(2), drop))), "refuse 105", "would not work"},
		{"and with the mark that the first one gets", any4, hooks(pre("filter", -150, also(state(2), marked("ct", 7), drop), also(dportIs(80), set("ct", 7)))), "refuse 105", "would not work"},
		{"with a mark that some get later it does not", any4, hooks(pre("filter", -150, also(marked("ct", 7), drop), also(state(2), limited, set("ct", 7)))), "", ""},
		{"a drop of answered ones with another mark does not", any4, hooks(pre("filter", -150, also(state(2), marked("ct", 1), drop), also(marked("meta", 1), set("ct", 1)))), "", ""},
		{"a chain with the priority of conntrack may come before it", any4, hooks(pre("filter", -200, also(dportIs(80), notrack))), "refuse 105", "notrack"},
		{"where packets have no state", any4, hooks(pre("filter", -200, also(state(1), dportIs(80), rewrite(2, 2, 2)))), "refuse 103", "rewrite"},
		{"or behind it", any4, hooks(pre("filter", -200, also(state(8), dportIs(80), rewrite(2, 2, 2)))), "refuse 103", "rewrite"},
		{"taking some of them out of conntrack there warns", any4, hooks(pre("filter", -200, also(dportIs(80), limited, notrack))), "warn 105", "notrack"},
		{"a drop of some warns", any4, hooks(pre("filter", -150, also(dportIs(80), limited, drop))), "warn 105", "does not work for everybody"},
		{"a drop of some for every port is none of this one's", any4, hooks(pre("filter", -150, also(limited, drop))), "", ""},
		{"a drop of all by what they all have hides", any4, lost("mangle", "PREROUTING -m ttl --ttl-gt 0 -j DROP"), "refuse 105", "would not work"},
		{"by their length, too", any4, lost("raw", "PREROUTING -m length --length 28:65535 -j DROP"), "refuse 105", "would not work"},
		{"and by their zone", any4, hooks(pre("filter", -150, also(zoned(0), drop))), "refuse 105", "would not work"},
		{"not by one that a rule gives them", any4, hooks(pre("filter", -150, also(zoned(0), drop)), hookedAt{"zones", "filter", nft.Prerouting, -300, [][]nft.Expr{{ex("ct", 2, 17, 4, 8)}}}), "", ""},
		{"what they all have, and the port, refuses", any4, lost("nat", "PREROUTING -p tcp -m tcp --dport 80 -m length --length 0:65535 -j REDIRECT"), "refuse 103", ""},
		{"what none has takes nothing", any4, lost("nat", "PREROUTING -p tcp -m tcp --dport 80 -m ttl --ttl-lt 1 -j REDIRECT"), "", ""},
		{"a drop of another port does not", any4, hooks(pre("filter", -150, also(dportIs(81), drop))), "", ""},
		{"a drop behind the mapping sees the pod", any4, hooks(pre("filter", 0, also(dportIs(80), drop))), "", ""},
		{"taking packets out of conntrack hides", any4, hooks(pre("filter", -300, also(dportIs(80), notrack))), "refuse 105", "notrack"},
		{"what has a template is new before conntrack", any4, hooks(pre("filter", -300, []nft.Expr{template}, also(state(8), dportIs(80), drop))), "refuse 105", "would not work"},
		{"and has a state", any4, hooks(pre("filter", -300, []nft.Expr{template}, also(state(1), dportIs(80), drop))), "", ""},
		{"and stays in conntrack", any4, hooks(pre("filter", -300, []nft.Expr{template}, also(dportIs(80), notrack))), "", ""},
		{"a zone is one", any4, hooks(pre("filter", -300, []nft.Expr{ex("ct", 2, 17, 4, 8)}, also(state(8), dportIs(80), drop))), "refuse 105", "would not work"},
		{"of iptables, too", any4, lost("raw", "PREROUTING -p tcp -j CT --ctevents new", "PREROUTING -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -j DROP"), "refuse 105", "would not work"},
		{"conntrack has seen them, then", any4, hooks(pre("filter", -150, also(dportIs(80), notrack))), "", ""},
		{"what drops them hides what translates them", any4, hooks(pre("filter", -150, also(dportIs(80), drop)), pre("nat", -100, also(dportIs(80), []nft.Expr{redirect}))), "refuse 105", ""},
		{"untracked packets are not translated", any4, hooks(pre("filter", -300, also(dportIs(80), notrack)), pre("nat", -100, also(dportIs(80), []nft.Expr{redirect}))), "refuse 105", ""},
		{"NOTRACK of iptables hides", any4, lost("raw", "PREROUTING -p tcp -m tcp --dport 80 -j CT --notrack"), "refuse 105", "would not work"},
		{"a drop of iptables in mangle hides", any4, lost("mangle", "PREROUTING -p tcp -m tcp --dport 80 -j DROP"), "refuse 105", "would not work"},
		{"what comes by lo was translated", any4, hooks(pre("nat", -100, also(link(1), dportIs(80), []nft.Expr{redirect}))), "", ""},
		{"what comes by another link was not", any4, hooks(pre("nat", -100, also(link(2), dportIs(80), []nft.Expr{redirect}))), "refuse 103", ""},
		{"a drop at the link of some warns", any4, hooks(hookedAt{"dev", "filter", nft.InetIngress, 0, [][]nft.Expr{also(dportIs(80), drop)}}), "warn 105", ""},
		{"a policy hides", any4, dropping(hooks(pre("filter", -150))), "refuse 105", "the policy of nftables inet t"},
		{"what a policy lets pass does not", any4, dropping(hooks(pre("filter", -150, also(dportIs(80), []nft.Expr{verdict(nft.Accept, "")})))), "", ""},
		{"a link by which nothing gets on warns", any4, lost("raw", "PREROUTING -i eth0 -j DROP"), "warn 105", "-i eth0 -j DROP"},
		{"so do all but one", any4, lost("mangle", "PREROUTING ! -i cni0 -j DROP"), "warn 105", ""},
		{"and a policy for all but one", any4, dropping(lost("mangle", "PREROUTING -i cni0 -j ACCEPT", "PREROUTING -p tcp -m tcp --dport 22 -j ACCEPT")), "warn 105", "the policy"},
		{"and a link whose packets conntrack does not know", any4, lost("raw", "PREROUTING -i eth0 -j CT --notrack"), "warn 105", ""},
		{"not one by which some get on", any4, lost("raw", "PREROUTING -i eth0 -s 10.0.0.0/8 -j DROP"), "", ""},
		{"nor one by which other protocols do not", any4, lost("raw", "PREROUTING -i eth0 -p udp -j DROP"), "", ""},
		{"nor addresses of others", any4, lost("raw", "PREROUTING -d 10.88.0.2/32 ! -i cni0 -j DROP"), "", ""},
		{"a mark nobody asks for", any4, hooks(pre("filter", -150, also(frob, set("meta", 3)))), "", ""},
	}
}

// later is a chain behind the mapping.
func later(rules ...[]nft.Expr) hookedAt {
	return hookedAt{"later", "filter", nft.Prerouting, -90, rules}
}

// state asks for the state of the connection.
func state(n uint32) []nft.Expr {
	c := ex("cmp", 1, 8, 2, 0)
	c.Attrs = c.Attrs.With(3, attr(1, number(n)))
	return []nft.Expr{ex("ct", 1, 8, 2, 0), c}
}

// zoned asks for the zone of conntrack.
func zoned(n uint16) []nft.Expr {
	c := ex("cmp", 1, 8, 2, 0)
	c.Attrs = c.Attrs.With(3, attr(1, binary.NativeEndian.AppendUint16(nil, n)))
	return []nft.Expr{ex("ct", 1, 8, 2, 17), c}
}

func unknownMatch() nft.Expr {
	m := ex("match", 2, 0)
	m.Attrs = m.Attrs.With(1, []byte("frob\x00")).With(3, make([]byte, 8))
	return m
}

// link asks for the index of the incoming link.
func link(index uint32) []nft.Expr {
	c := ex("cmp", 1, 8, 2, 0)
	c.Attrs = c.Attrs.With(3, attr(1, number(index)))
	return []nft.Expr{ex("meta", 1, 8, 2, 4), c}
}

func dropping(s Snapshot) Snapshot {
	s.Rulesets[len(s.Rulesets)-1].Drops = func(nft.Chain) (bool, error) { return true, nil }
	return s
}

// A chain may drop all that has a connection and let the rest get through that an earlier one took out of conntrack.
func TestPassOfSomeUntracked(t *testing.T) {
	src := addrset.Of(netip.MustParsePrefix("203.0.113.9/32"))
	p := walk.Packet{Hook: walk.Prerouting, Proto: tcp, Port: 80, Dst: addrset.Of(netip.MustParsePrefix(nodeIP + "/32")), Src: src}
	s := hooks(hookedAt{"some", "filter", nft.Prerouting, -300, [][]nft.Expr{{ex("limit"), ex("notrack")}}},
		hookedAt{"rest", "filter", nft.Prerouting, -250, [][]nft.Expr{append(state(1), verdict(nft.Drop, ""))}})
	left, stop, err := NewFinder(s).Pass(p, p.Start(), PrioFirst, PrioLast)
	if err != nil || stop == nil || !stop.Untracks || !stop.Rest || !strings.Contains(stop.Where, "rest: handle 1") || len(left.Tracked()) > 0 || len(left) == 0 {
		t.Errorf("left %+v, stopped by %+v, %v", left, stop, err)
	}
}
