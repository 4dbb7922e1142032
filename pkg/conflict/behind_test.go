// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
	"github.com/portguard/portguard/pkg/xt"
)

// What keeps all packets of a mapping from the pod behind it, or all answers from going back, is
// found; what plugins may open is not, and neither is what is for others.
func TestBehind(t *testing.T) {
	const iif, iifname, oifname = 4, 6, 7
	also := slices.Concat[[]nft.Expr]
	any4, any6, own := attach(mapTo(v4, "")), attach(mapTo(v6, "")), attach(mapTo(v4, "127.0.0.1"))
	any4.Pods = []netip.Prefix{netip.MustParsePrefix("10.88.0.5/16")}
	own.Pods, any6.Pods = any4.Pods, []netip.Prefix{netip.MustParsePrefix("fd00:88::5/64")}
	at := func(hook uint32, priority int32, rules ...[]nft.Expr) hookedAt {
		return hookedAt{"c" + string(rune('0'+hook)) + string(rune('m'+priority/50)), "filter", hook, priority, rules}
	}
	pre := func(priority int32, rules ...[]nft.Expr) hookedAt { return at(nft.Prerouting, priority, rules...) }
	addr := func(off uint32, a string) []nft.Expr {
		b := netip.MustParseAddr(a).AsSlice()
		return []nft.Expr{ex("payload", 1, 8, 2, 1, 3, off, 4, uint32(len(b))), is(b)}
	}
	daddr, saddr, daddr6, saddr6 := addr(16, "10.88.0.5"), addr(12, "10.88.0.5"), addr(24, "fd00:88::5"), addr(8, "fd00:88::5")
	sport := []nft.Expr{ex("payload", 1, 8, 2, 2, 3, 0, 4, 2), is(binary.BigEndian.AppendUint16(nil, 8080))}
	status := func(bit uint32) []nft.Expr {
		b := ex("bitwise", 1, 8, 2, 8, 3, 4, 6, 0)
		b.Attrs = b.Attrs.With(4, attr(1, number(bit))).With(5, attr(1, number(0)))
		c := ex("cmp", 1, 8, 2, 1)
		c.Attrs = c.Attrs.With(3, attr(1, number(0)))
		return []nft.Expr{ex("ct", 1, 8, 2, 2), b, c}
	}
	original := []nft.Expr{ex("ct", 1, 8, 2, 12), is(binary.BigEndian.AppendUint16(nil, 80))}
	original[0].Attrs = original[0].Attrs.With(3, []byte{0})
	reply := []nft.Expr{ex("ct", 1, 8, 2, 1), is([]byte{1})}
	syn := []nft.Expr{ex("payload", 1, 8, 2, 2, 3, 13, 4, 1), is([]byte{2})}
	index := func(n uint32) []nft.Expr { return []nft.Expr{ex("meta", 1, 8, 2, iif), is(number(n))} }
	drop, accept, notrack, limited := []nft.Expr{verdict(nft.Drop, "")}, []nft.Expr{verdict(nft.Accept, "")}, []nft.Expr{ex("notrack")}, []nft.Expr{ex("limit")}
	node := func(chains ...hookedAt) Snapshot {
		s := hooks(chains...)
		s.LinkTo = func(netip.Addr) (walk.Link, error) { return walk.Link{Name: "cni0", Index: 7}, nil }
		return s
	}
	iptables := func(s Snapshot) Snapshot {
		s.Place.Flavour = "nft"
		return s
	}
	nobody := func(s Snapshot) Snapshot {
		s.LinkTo = nil
		return s
	}
	raw := func(rules ...string) Snapshot {
		s := node()
		return s.dump(t, v4, false, "*raw\n"+table(rules)+"COMMIT\n")
	}
	mangle := func(rules ...string) Snapshot {
		s := node()
		return s.dump(t, v4, false, "*mangle\n"+table(rules)+"COMMIT\n")
	}
	noting := func(s Snapshot) Snapshot { // a set of clients, which has none
		s.Rulesets[0].Source.(*table4).sets = map[string][]nft.Element{"clients": {{Key: make([]byte, 4)}}}
		return s
	}
	notes := ex("dynset", 3, 0, 4, 8)
	notes.Attrs = notes.Attrs.With(1, []byte("clients\x00"))
	noted := also(addr(16, "0.0.0.0")[:1], []nft.Expr{lookup("clients", false)}, accept)
	const to, back, later = "a rule ends the way of its packets to the pod", "a rule ends the way of the pod's answers", "a rule ends the way of later packets to the pod"
	check(t, []findCase{
		{"what was translated is dropped", any4, node(pre(0, also(status(1<<5), drop))), "refuse 105", to},
		{"beside a mapping in iptables, too", any4, iptables(node(pre(0, also(status(1<<5), drop)))), "refuse 105", to},
		{"the status of others is not", any4, node(pre(0, also(status(1<<4), drop))), "", ""},
		{"before the mapping nothing has it", any4, node(pre(-150, also(status(1<<5), drop))), "refuse 105", back},
		{"the pod's address", any4, node(pre(-90, also(daddr, drop))), "refuse 105", to},
		{"of IPv6", any6, node(pre(-90, also(daddr6, drop))), "refuse 105", to},
		{"before the mapping nobody sends to it", any4, node(pre(-110, also(daddr, drop))), "", ""},
		{"the pod's port", any4, node(pre(-90, also(dportIs(8080), drop))), "refuse 105", to},
		{"the port that was asked", any4, node(pre(-90, also(original, drop))), "refuse 105", to},
		{"that is not in the packet any more", any4, node(pre(-90, also(dportIs(80), drop))), "", ""},
		{"a mark from before", any4, node(pre(-150, also(dportIs(80), set("meta", 7))), pre(0, also(marked("meta", 7), drop))), "refuse 105", to},
		{"a mark of other ports", any4, node(pre(-150, also(dportIs(81), set("meta", 7))), pre(0, also(marked("meta", 7), drop))), "", ""},
		{"a mark from between", any4, node(pre(-50, also(dportIs(8080), set("meta", 7))), pre(0, also(marked("meta", 7), drop))), "refuse 105", to},
		{"a service class from before", any4, node(pre(-150, also(dportIs(80), []nft.Expr{xt.TargetExpr(xt.Info{Name: "DSCP", Data: []byte{8, 0, 0, 0}})})), pre(0, also([]nft.Expr{xt.MatchExpr(xt.Info{Name: "dscp", Data: []byte{8, 0, 0, 0}})}, drop))), "refuse 105", to},
		{"a service class of other ports", any4, node(pre(-150, also(dportIs(81), []nft.Expr{xt.TargetExpr(xt.Info{Name: "DSCP", Data: []byte{8, 0, 0, 0}})})), pre(0, also([]nft.Expr{xt.MatchExpr(xt.Info{Name: "dscp", Data: []byte{8, 0, 0, 0}})}, drop))), "", ""},
		{"what opens a connection", any4, node(pre(0, also(syn, drop))), "refuse 105", to},
		{"a hop to go less", any4, node(pre(0, also(daddr, []nft.Expr{xt.TargetExpr(xt.Info{Name: "TTL", Data: []byte{0, 1, 0, 0, 0, 0, 0, 0}})}))), "refuse 105", to},
		{"what is answered", any4, node(pre(0, also(state(2), daddr, drop))), "refuse 105", later},
		{"a mark that only first packets lose, which ask chains of nat", any4, node(pre(-150, also(dportIs(80), set("meta", 7))), hookedAt{"zero", "nat", nft.Prerouting, -150, [][]nft.Expr{set("meta", 0)}}, pre(0, also(marked("meta", 7), drop))), "refuse 105", later},
		{"a policy that lets it pass", any4, dropping(node(pre(0, accept))), "", ""},
		{"or some of it", any4, dropping(node(pre(0, also(daddr, limited, accept)))), "", ""},
		{"some of its packets", any4, node(pre(0, also(dportIs(8080), limited, drop))), "warn 105", to},
		{"what comes by a link", any4, node(pre(0, also(linkName(iifname, "eth0"), daddr, drop))), "warn 105", to},
		{"one address of the node", any4, node(pre(0, also(daddr, []nft.Expr{ex("ct", 1, 8, 2, 9)}, []nft.Expr{is(netip.MustParseAddr(nodeIP).AsSlice())}, drop))), "", ""},
		{"what a rule that is not understood may accept", any4, node(pre(0, also(daddr, []nft.Expr{unknownMatch()}, accept), drop)), "", ""},
		{"at the priority of the mapping nobody knows", any4, node(pre(-100, also(daddr, drop))), "warn 105", to},
		{"at forward plugins may open it", any4, node(at(nft.Forward, 0, also(daddr, drop))), "", ""},
		{"at output, too", own, node(at(nft.Output, 0, also(daddr, drop))), "", ""},

		{"answers by their source", any4, node(pre(-300, also(saddr, sport, notrack))), "refuse 105", back},
		{"of IPv6", any6, node(pre(-300, also(saddr6, sport, notrack))), "refuse 105", back},
		{"to the node itself", own, node(pre(-300, also(saddr, sport, notrack))), "refuse 105", back},
		{"by their link", any4, node(pre(-300, also(index(7), notrack))), "refuse 105", back},
		{"which nobody knows", any4, nobody(node(pre(-300, also(index(7), notrack)))), "", ""},
		{"by another one", any4, node(pre(-300, also(index(8), saddr, notrack))), "", ""},
		{"of IPv6 by their link", any6, node(pre(-300, also(index(7), notrack))), "refuse 105", back},
		{"answers of other ports", any4, node(pre(-300, also(saddr, []nft.Expr{sport[0], is([]byte{0, 80})}, notrack))), "", ""},
		{"to some", any4, node(pre(-300, also(addr(16, "10.0.0.1"), accept), also(saddr, notrack))), "", ""},
		{"answers that a rule drops", any4, node(pre(-150, also(reply, drop))), "refuse 105", back},
		{"behind conntrack nothing leaves it", any4, node(pre(-150, also(saddr, notrack))), "", ""},
		{"answers but those of masqueraded connections", any4, node(pre(-150, also(status(1<<4), accept), also(reply, drop))), "", ""},
		{"as iptables asks for them", any4, mangle("PREROUTING -m conntrack --ctstate SNAT -j ACCEPT", "PREROUTING -m conntrack --ctdir REPLY -j DROP"), "", ""},
		{"the node's own are answered to its link", own, mangle("OUTPUT ! -s 127.0.0.0/8 -d 127.0.0.0/8 -j DROP", "PREROUTING ! -i lo -d 127.0.0.0/8 -j DROP"), "", ""},
		{"to clients that a rule noted", any4, noting(node(pre(-150, also(linkName(iifname, "eth0"), addr(12, "0.0.0.0")[:1], []nft.Expr{notes}), noted, also(reply, drop)))), "", ""},
		{"to others than those in a set", any4, noting(node(pre(-150, noted, also(reply, drop)))), "refuse 105", back},
		{"by the mark of their connection", any4, node(pre(-150, also(dportIs(80), set("ct", 7)), also(marked("ct", 7), reply, drop))), "refuse 105", back},
		{"a mark that they get on their way to the pod", any4, node(at(nft.Forward, 0, also(daddr, set("ct", 7))), pre(-150, also(marked("ct", 7), reply, drop))), "refuse 105", back},
		{"a mark that saves them", any4, node(at(nft.Postrouting, 0, also(linkName(oifname, "cni0"), set("ct", 7))), pre(-150, also(marked("ct", 7), accept), also(reply, drop))), "", ""},
		{"to some by their port", any4, raw("PREROUTING -p tcp -m tcp --dport 25 -j DROP", "PREROUTING -i eth0 -p tcp -m tcp --dport 445 -j DROP"), "", ""},
		{"or by some link that is not known", any4, nobody(raw("PREROUTING -i docker0 -p tcp -j CT --notrack")), "warn 105", ""},
		{"NOTRACK of iptables", any4, raw("PREROUTING -s 10.88.0.0/16 -p tcp -m tcp --sport 8080 -j CT --notrack"), "refuse 105", back},

		{"as docker keeps others from containers", any4, raw("PREROUTING -d 10.88.0.5/32 ! -i cni0 -j DROP"), "", ""},
		{"as kube-proxy and a cache of DNS have it", any4, raw("PREROUTING -d 169.254.20.10/32 -p udp -m udp --dport 53 -j CT --notrack", "PREROUTING -s 169.254.20.10/32 -p udp -m udp --sport 53 -j CT --notrack"), "", ""},
		{"as Calico asks for the way back", any4, raw("PREROUTING -i cni+ -j MARK --set-xmark 0x40000/0x40000", "PREROUTING -m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP"), "", ""},
		{"as Cilium has pods without conntrack", any4, raw("PREROUTING -s 10.88.0.0/16 -j CT --notrack", "PREROUTING -d 10.88.0.0/16 -j CT --notrack"), "refuse 105", back},
	})
}
