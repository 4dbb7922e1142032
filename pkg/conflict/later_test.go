// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// is compares what register 8 holds.
func is(data []byte) nft.Expr {
	c := ex("cmp", 1, 8, 2, 0)
	c.Attrs = c.Attrs.With(3, attr(1, data))
	return c
}

func linkName(key uint32, name string) []nft.Expr {
	return []nft.Expr{ex("meta", 1, 8, 2, key), is(append([]byte(name), make([]byte, 16-len(name))...))}
}

// What only the answers meet sets marks that later packets of the connection have: those of
// the pod by its link, those of who is there without the mapping from the node itself.
func TestAnswers(t *testing.T) {
	const iifname, oifname = 6, 7
	also := slices.Concat[[]nft.Expr]
	any4, own := attach(mapTo(v4, "")), attach(mapTo(v4, "127.0.0.1"))
	for _, a := range []*hostport.Attachment{&any4, &own} {
		a.Pods = []netip.Prefix{netip.MustParsePrefix("10.88.0.5/16")}
	}
	reply := []nft.Expr{ex("ct", 1, 8, 2, 1), is([]byte{1})}
	sport := func(n uint16) []nft.Expr {
		return []nft.Expr{ex("payload", 1, 8, 2, 2, 3, 0, 4, 2), is(binary.BigEndian.AppendUint16(nil, n))}
	}
	saddr := func(a string) []nft.Expr {
		return []nft.Expr{ex("payload", 1, 8, 2, 1, 3, 12, 4, 4), is(netip.MustParseAddr(a).AsSlice())}
	}
	daddr := func(a string) []nft.Expr {
		return []nft.Expr{ex("payload", 1, 8, 2, 1, 3, 16, 4, 4), is(netip.MustParseAddr(a).AsSlice())}
	}
	at := func(hook uint32, priority int32, rules ...[]nft.Expr) hookedAt {
		return hookedAt{fmt.Sprintf("h%d%d", hook, priority), "filter", hook, priority, rules}
	}
	isTCP := []nft.Expr{ex("meta", 1, 8, 2, 16), is([]byte{6})}
	icmp := []nft.Expr{ex("meta", 1, 8, 2, 16), is([]byte{1})}
	write := []nft.Expr{ex("payload", 5, 8, 2, 2, 3, 2, 4, 2)}
	save := []nft.Expr{ex("meta", 1, 8, 2, 3), ex("ct", 2, 3, 4, 8)}
	restore := []nft.Expr{ex("ct", 1, 8, 2, 3), ex("meta", 2, 3, 3, 8)}
	// Behind what a case has, packets of mark 1 are written into.
	writes := func(chains ...hookedAt) Snapshot {
		return hooks(append(chains, hookedAt{"w", "filter", nft.Prerouting, -145, [][]nft.Expr{also(marked("ct", 1), write)}})...)
	}
	mark := func(n uint32, when ...[]nft.Expr) []nft.Expr { return also(append(when, set("ct", n))...) }
	taken := func(name string, a hostport.Attachment, s Snapshot) findCase {
		return findCase{name, a, s, "refuse 103", "rewrite"}
	}
	free := func(name string, a hostport.Attachment, s Snapshot) findCase { return findCase{name, a, s, "", ""} }
	mangle := func(rules ...string) Snapshot { return node().dump(t, v4, true, "*mangle\n"+table(rules)+"COMMIT\n") }
	tproxy := "PREROUTING -p tcp -m connmark --mark 0x1 -j TPROXY --on-port 3129 --on-ip 0.0.0.0 --tproxy-mark 0x0/0x0"
	elsewhere := early(func(r *hostport.RouteRule) { r.Mark, r.Mask = 9, ^uint32(0) })
	// Answers to one address get 1, and those to a hundred have another mark of the packet each.
	many := [][]nft.Expr{mark(1, reply, daddr("10.0.0.1"))}
	for i := range 100 {
		many = append(many, also(daddr(fmt.Sprintf("10.0.0.%d", i+1)), set("meta", uint32(i+2))))
	}
	// Each packet of a connection gets the next mark, the last of which is 1.
	count := [][]nft.Expr{mark(1, marked("ct", 12))}
	for i := range uint32(9) {
		count = append(count, mark(12-i, marked("ct", 11-i)))
	}
	count = append(count, mark(3, marked("ct", 0)))
	var cases []findCase
	for hook, name := range map[uint32]string{nft.Prerouting: "prerouting", nft.Forward: "forward", nft.Postrouting: "postrouting", nft.Output: "output"} {
		cases = append(cases, taken("answers at "+name, any4, writes(at(hook, -150, mark(1, reply)))),
			taken("established ones at "+name, any4, writes(at(hook, 0, mark(1, state(2), reply)))),
			free("first packets are no answers at "+name, any4, writes(at(hook, -150, mark(2, reply)))),
		)
	}
	check(t, append(cases, []findCase{
		taken("answers to the node at input", own, writes(at(nft.Input, -150, mark(1, reply)))),
		free("nobody else gets answers there", attach(mapTo(v4, nodeIP)), dropOwn(writes(at(nft.Input, -150, mark(1, reply))))),
		taken("by the pod's address and port", any4, writes(at(nft.Forward, 0, mark(1, saddr("10.88.0.5"), sport(8080))))),
		free("nobody knows the connection before conntrack", attach(mapTo(v4, nodeIP)), dropOwn(writes(at(nft.Prerouting, -300, mark(1, reply))))),
		taken("but that of answers by lo", own, writes(at(nft.Prerouting, -300, mark(1, reply)))),
		free("not by another one's", any4, writes(at(nft.Forward, 0, mark(1, isTCP, reply, saddr("10.88.0.6"))), at(nft.Prerouting, -150, mark(1, isTCP, reply, saddr("10.88.0.6"))))),
		taken("an error is an answer", any4, writes(at(nft.Output, 0, mark(1, icmp)))),
		{"but none that makes its connection an established one", any4, writes(at(nft.Output, 0, mark(1, icmp)), at(nft.Prerouting, -190, append(state(2), verdict(nft.Drop, "")))), "refuse 103; refuse 105", "rewrite"},
		taken("also one that the pod sends", any4, writes(at(nft.Forward, 0, mark(1, icmp, state(4), reply)))),
		taken("answers to a source that is not the node's do not come back to it", own, writes(at(nft.Postrouting, -150, mark(1, reply)), at(nft.Input, -150, mark(0)))),
		taken("and one about the answers", any4, writes(at(nft.Forward, 0, mark(1, icmp, linkName(iifname, "wan1"))))),
		free("nor by another port", any4, writes(at(nft.Forward, 0, mark(1, isTCP, reply, sport(81))), at(nft.Output, 0, mark(1, isTCP, reply, sport(81))))),
		taken("by the port that was asked, from the node", any4, writes(at(nft.Output, 0, mark(1, sport(80))))),
		taken("or at the end of postrouting", any4, writes(at(nft.Postrouting, 150, mark(1, reply, saddr(nodeIP), sport(80))))),
		free("before that it is the pod's", any4, writes(at(nft.Postrouting, 0, mark(1, isTCP, saddr("10.88.0.6"), reply)))),
		taken("what goes on to the pod is marked, too", any4, writes(at(nft.Forward, 0, mark(1, daddr("10.88.0.5"), state(8))))),
		taken("behind the mapping, too", any4, writes(at(nft.Prerouting, 0, mark(1, daddr("10.88.0.5"))))),
		free("not before it", any4, writes(at(nft.Prerouting, -150, mark(1, daddr("10.88.0.5"), state(8))))),
		taken("and by postrouting", any4, writes(at(nft.Postrouting, 0, mark(1, state(8))))),
		taken("what the node sends itself, at postrouting", own, writes(at(nft.Postrouting, 0, mark(1, linkName(oifname, "lo"))))),
		taken("and is written into there", own, hooks(at(nft.Postrouting, 0, also(dportIs(80), write)))),
		taken("an answer marks what an answer has marked", any4, writes(at(nft.Forward, 0, mark(1, reply, marked("ct", 3)), mark(3, reply, marked("ct", 2)), mark(2, reply, marked("ct", 0))))),
		taken("also where first packets lose it", any4, writes(at(nft.Forward, 0, mark(1, reply, marked("ct", 2)), mark(2, reply, marked("ct", 0))), at(nft.Prerouting, -100, mark(0, dportIs(80))))),
		taken("conntrack knows what comes to input, whatever the priority", any4, hooks(at(nft.Prerouting, 0, mark(1, dportIs(80))), at(nft.Input, -300, also(marked("ct", 1), write)))),

		free("the mark of the link by which answers leave", any4, writes(at(nft.Postrouting, -150, mark(2, linkName(oifname, "wan1")), mark(3, linkName(oifname, "wan2"))), at(nft.Output, -150, restore), at(nft.Prerouting, -150, restore)).leads(elsewhere)),
		{"that of the link by which connections come, restored for answers", any4, writes(at(nft.Prerouting, -150, mark(2, state(8), linkName(iifname, "wan1")), mark(3, state(8), linkName(iifname, "wan2")), also(reply, restore)), at(nft.Output, -150, restore)).leads(elsewhere), "warn 114", "may lead"}, // a program may have set it
		free("a saved mark", any4, writes(at(nft.Prerouting, -150, also(restore, set("meta", 2), save)), at(nft.Output, -150, also(restore)), at(nft.Postrouting, 0, save)).leads(elsewhere)),
		taken("a saved mark of the answers", any4, writes(at(nft.Output, -150, set("meta", 1)), at(nft.Postrouting, 0, save))),
		taken("one of more marks than are told apart", any4, writes(at(nft.Forward, 0, many...))),
		taken("one after more packets than are followed", any4, writes(at(nft.Forward, 0, count...))),
		free("nobody asks", any4, hooks(at(nft.Forward, 0, mark(1, reply)), at(nft.Prerouting, 0, also(dportIs(81), marked("meta", 1), write)))),

		{"CONNMARK of answers", any4, mangle("FORWARD -m conntrack --ctdir REPLY -j CONNMARK --set-xmark 0x1/0xffffffff", tproxy), "refuse 103", "TPROXY"},
		{"CONNMARK of those that leave", any4, mangle("POSTROUTING -p tcp -m tcp --sport 8080 -m conntrack --ctstate ESTABLISHED -j CONNMARK --set-xmark 0x1/0xffffffff", tproxy), "refuse 103", "TPROXY"},
		free("CONNMARK of others", any4, mangle("POSTROUTING -p tcp -m tcp --sport 8081 -m conntrack --ctdir REPLY -j CONNMARK --set-xmark 0x1/0xffffffff", tproxy)),
		free("CONNMARK for several links to the outside", any4, mangle(
			"PREROUTING -j CONNMARK --restore-mark", "PREROUTING -m mark ! --mark 0x0 -j ACCEPT", "PREROUTING -i wan1 -j MARK --set-xmark 0x2/0xffffffff", "PREROUTING -i wan2 -j MARK --set-xmark 0x3/0xffffffff",
			"PREROUTING -j CONNMARK --save-mark", tproxy, "OUTPUT -j CONNMARK --restore-mark", "POSTROUTING -o wan1 -j CONNMARK --set-xmark 0x2/0xff", "POSTROUTING -o wan2 -j CONNMARK --set-xmark 0x3/0xff").leads(elsewhere)),
	}...))
}

// dropOwn has the node itself send nothing.
func dropOwn(s Snapshot) Snapshot {
	s.From.Hook = "PREROUTING"
	return s
}
