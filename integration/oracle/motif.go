// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// Motifs are rules that are drawn together, because rules that are drawn one by one hardly
// ever meet: what one does is asked for by another.

// motif adds one to a table, before its other rules.
func (d *native) motif(s *Set) {
	others := s.Rules
	s.Rules = nil
	defer func() { s.Rules = append(s.Rules, others...) }()
	d.v6, d.proto = d.gen.v6, d.pick("tcp", "udp")
	base, hook := d.table.Bases[0].Name, d.table.Bases[0].Hook
	add := func(chain string, parts ...string) {
		s.Rules = append(s.Rules, Rule{Chain: chain, Text: strings.Join(parts, " ")})
	}
	filter := func(name string, priority int) string {
		d.table.Bases = append(d.table.Bases, Base{Name: name, Type: "filter", Hook: hook, Priority: priority, Policy: "accept"})
		return name
	}
	which := "meta l4proto " + d.proto
	switch d.IntN(9) {
	case 8: // a mark that is drawn
		add(filter("x0", -140), which, "meta mark set", d.drawnMark())
		add(base, which, "meta mark "+d.pick("", "!= ", "& 0x1 == ")+"0x1", d.dnat())
	case 0, 6, 7: // a mark that is set, changed, and asked for
		d.changedMark(s, filter("x0", -140), which)
	case 1: // the same with the connection's
		f := filter("x0", -140)
		add(f, which, d.pick("meta", "ct"), "mark set 0x1")
		add(f, which, d.pick("ct mark set meta mark", "meta mark set ct mark", "ct mark set ct mark or 0x2", "ct mark set meta mark xor 0x1"))
		add(base, which, d.pick("ct mark", "meta mark"), d.pick("", "!= "), d.pick("0x0", "0x1", "0x2", "0x3"), d.dnat())
	case 2: // later packets are written into
		add(filter("x0", d.pickInt(-150, -140, 0)), which, "ct mark 0x1", d.rewrite())
		add(filter("x1", d.pickInt(-140, -90, 10)), which, "ct mark set", d.pick("0x1", "0x1", "0x2"))
	case 3: // some of the packets leave by a number that is drawn
		elems := d.numbers()
		add(base, which, d.pick("numgen random", "numgen inc", "jhash "+d.nfAddr()+" saddr"), "mod 2 vmap {", elems, "}")
		add(base, which, d.dnat())
	case 4:
		add(base, which, d.pick("iif lo", "iif != lo", "iif != lo", "oif != lo", "iifname != \"lo\""), d.dnat())
	case 5: // one chain for different packets
		s.Chains = append(s.Chains, "x2")
		f, other := d.addrField(d.pick("daddr", "daddr", "saddr")), d.pick("", "meta mark set 0x1 ")
		add(base, which, f.expr, f.values[1], other+"jump x2")
		add(base, which, f.expr, f.values[0], "jump x2")
		add(base, which, "jump x2")
		add("x2", which, f.expr, d.eq()+f.values[0], d.pick("", "meta mark 0x1 "), d.dnat())
	}
}

// A change is what a rule does to a mark: it keeps some bits, and turns some.
type change struct {
	text      string
	keep, xor uint32
}

func changes() []change {
	return []change{
		{"or 0x1", ^uint32(1), 1}, {"or 0x2", ^uint32(2), 2}, {"or 0x3", ^uint32(3), 3}, {"xor 0x1", ^uint32(0), 1}, {"xor 0x3", ^uint32(0), 3},
		{"and 0x1", 1, 0}, {"and 0x2", 2, 0}, {"and 0xfffffffe", ^uint32(1), 0}, {"and 0xfffffffe xor 0x1", ^uint32(1), 1}, {"and 0xfffffffc xor 0x2", ^uint32(3), 2},
	}
}

// changedMark adds a mark that a chain sets, and changes bit by bit, before the first base
// chain asks for it, mostly for what it is then. Unless the first rule sets it to a number,
// only some of its bits are known.
func (d *native) changedMark(s *Set, chain, which string) {
	mark := uint32(1 + d.IntN(3))
	first := fmt.Sprintf("%#x", mark)
	if d.IntN(3) > 0 {
		first = fmt.Sprintf("meta mark or %#x", mark)
	}
	s.Rules = append(s.Rules, Rule{Chain: chain, Text: which + " meta mark set " + first})
	d.changeAndAsk(s, chain, which, mark)
}

// changeAndAsk changes a mark, and asks for it.
func (d *native) changeAndAsk(s *Set, chain, which string, mark uint32) {
	takes := slices.DeleteFunc(changes(), func(c change) bool { return mark&^c.keep == 0 }) // a bit away
	list := []change{takes[d.IntN(len(takes))]}
	if d.IntN(2) == 0 {
		list = append(list, changes()[d.IntN(len(changes()))])
	}
	for _, c := range list {
		s.Rules = append(s.Rules, Rule{Chain: chain, Text: which + " meta mark set meta mark " + c.text})
		mark = mark&c.keep ^ c.xor
	}
	ask := fmt.Sprintf("meta mark %s%#x ", d.pick("", "", "& 0x3 == "), mark)
	if d.IntN(3) == 0 {
		ask = fmt.Sprintf("meta mark %s%#x ", d.pick("", "!= ", "& 0x3 == ", "& 0x1 == "), d.IntN(2))
	}
	s.Rules = append(s.Rules, Rule{Chain: d.table.Bases[0].Name, Text: which + " " + ask + d.dnat()})
}

// sharedMark has iptables set some bits of a mark, which a table of nftables changes and asks for.
func (g *gen) sharedMark(tables, own *Set) {
	d := &native{gen: g, table: own.Table, v6: g.v6, proto: g.pick("tcp", "udp")}
	mark, hook := uint32(1+g.IntN(3)), d.table.Bases[0].Hook
	tables.Rules = append([]Rule{{Table: "mangle", Chain: strings.ToUpper(hook), Text: fmt.Sprintf("-p %s -j MARK --set-xmark %#x/0x3", d.proto, mark)}}, tables.Rules...)
	d.table.Bases = append(d.table.Bases, Base{Name: "x9", Type: "filter", Hook: hook, Priority: -140, Policy: "accept"})
	others := own.Rules
	own.Rules = nil
	d.changeAndAsk(own, "x9", "meta l4proto "+d.proto, mark)
	own.Rules = append(own.Rules, others...)
}

// numbers are one or both elements of a map of numbers below 2, perhaps with another.
func (d *native) numbers() string {
	verdict := d.pick("return", "accept")
	out := fmt.Sprintf("%d : %s", d.IntN(2), verdict)
	switch d.IntN(4) {
	case 0, 1:
		out = "0 : " + verdict + ", 1 : " + d.pick("return", "accept")
	case 2: // on which no number falls
		out += ", 5 : " + d.pick("return", "accept")
	}
	return out
}

func (g *gen) pickInt(list ...int) int { return list[g.IntN(len(list))] }

// tableMotif adds marks to a set of iptables that mangle gives to connections and takes back,
// and that nat asks for.
func (g *gen) tableMotif(s *Set) {
	chain, proto := g.pick("PREROUTING", "OUTPUT"), g.pick("tcp", "udp")
	rule := func(table, text string) Rule {
		return Rule{Table: table, Chain: chain, Text: "-p " + proto + " -j " + text}
	}
	rules := []Rule{rule("mangle", g.pick("CONNMARK --set-xmark 0x1/0x1", "MARK --set-xmark 0x3/0x3", "CONNMARK --set-xmark 0x2/0xffffffff"))}
	rules = append(rules, rule("mangle", g.pick("CONNMARK --save-mark", "CONNMARK --restore-mark", "CONNMARK --restore-mark --nfmask 0x3 --ctmask 0x1", "CONNMARK --restore-mark")))
	ask := "-p " + proto + g.pick(" -m mark ", " -m mark ", " -m connmark ") + g.not() + "--mark " + g.pick("0x1/0x1", "0x1", "0x2/0x2", "0x0") + " " + g.target(proto, nil)
	s.Rules = append(append(rules, Rule{Chain: chain, Text: ask}), s.Rules...)
}
