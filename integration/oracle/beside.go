// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// What is beside nat: chains of other types mark packets, take them out of conntrack, drop
// them or write into them, before or after their destination is translated.

// besidePriorities are those of such chains: before and behind conntrack (-200), and before
// and behind every chain that translates.
func besidePriorities() []int { return []int{-310, -300, -150, -140, -90, 0, 10} }

// beside adds chains of type filter or route, with chains of their own to jump to: the
// kernel lets none that translates be reached from them.
func (d *native) beside(s *Set) {
	var further []string
	for i := range d.IntN(3) {
		further = append(further, fmt.Sprintf("m%d", i))
	}
	for i := range 1 + d.IntN(2) {
		b := Base{Name: fmt.Sprintf("f%d", i), Type: "filter", Hook: d.pick("prerouting", "prerouting", "output", "input"), Policy: "accept"}
		if b.Hook == "output" {
			b.Type = d.pick("filter", "route")
		}
		b.Priority = besidePriorities()[d.IntN(len(besidePriorities()))]
		s.Table.Bases = append(s.Table.Bases, b)
		d.early = b.Priority < -100
		s.Rules = append(s.Rules, d.besideRules(b.Name, b.Hook, further)...)
	}
	d.early = false
	for i, c := range further {
		s.Chains = append(s.Chains, c)
		s.Rules = append(s.Rules, d.besideRules(c, "", further[i+1:])...)
	}
}

func (d *native) besideRules(chain, hook string, further []string) []Rule {
	d.hook = hook
	var out []Rule
	for range 1 + d.IntN(3) {
		d.v6 = d.gen.v6
		m := d.protocol()
		if d.IntN(2) == 0 {
			m = append(m, d.dport())
		}
		for range d.IntN(2) {
			m = append(m, d.match())
		}
		out = append(out, Rule{Chain: chain, Text: strings.Join(append(m, d.besideVerdict(further)), " ")})
	}
	return out
}

func (d *native) besideVerdict(further []string) string {
	switch n := d.IntN(16); {
	case n < 4:
		return "meta mark set " + d.pick("0x1", "0x3", "meta mark or 0x1", "0x0", "ct mark", "ct mark or 0x1", "ct mark and 0x1", "meta mark xor 0x2", "meta mark << 1", d.drawnMark())
	case n == 4:
		return d.pick("meta", "ct") + " mark set " + d.markMap()
	case n < 7:
		return "ct mark set " + d.pick("0x1", "meta mark", "0x0", "ct mark or 0x1", "meta mark and 0x3")
	case n == 7 && d.hook != "input":
		return "notrack"
	case n == 8 && d.early:
		return "drop"
	case n == 9:
		return "accept"
	case n == 10 && (d.proto == "tcp" || d.proto == "udp"):
		return d.rewrite()
	case n == 11:
		return "meta mark vmap { 0x1 : " + d.branch(further) + ", 0x3 : accept }"
	}
	return d.branch(further)
}

// drawnMark is a mark that some packets have, whichever it is. In turn (inc) the first packets of
// all connections may get the same one.
func (d *native) drawnMark() string {
	return d.pick("numgen random mod 2", "numgen random mod 2 offset 1", "jhash "+d.nfAddr()+" saddr mod 2")
}

// markMap is a mark that depends on the port or an address.
func (d *native) markMap() string {
	f := d.portField()
	if d.IntN(2) == 0 {
		f = d.addrField(d.pick("daddr", "saddr"))
	}
	return f.expr + " map { " + f.values[0] + " : 0x1, " + f.values[1] + " : " + d.pick("0x0", "0x2", "0x3") + " }"
}

// rewrite writes another port into the packet, and perhaps another address; or something
// that leads nowhere else.
func (d *native) rewrite() string {
	switch n := d.IntN(8); {
	case n < 3:
		return fmt.Sprintf("%s daddr set %s %s dport set %d", d.nfAddr(), d.target(), d.proto, rewritten)
	case n == 3:
		return fmt.Sprintf("@th,16,16 set %d", rewritten)
	case n == 4:
		return d.nfAddr() + " dscp set cs2"
	case n == 5:
		return d.nfAddr() + " saddr set " + d.addrField("saddr").values[0]
	case n == 6: // as bytes behind the header of the network, or behind that of the link
		const link, port = 14, 2
		at := map[bool]int{false: 20, true: 40}[d.v6] + port
		return fmt.Sprintf("@%s set %d", d.pick(fmt.Sprintf("nh,%d,16", 8*at), fmt.Sprintf("ll,%d,16", 8*(link+at))), rewritten)
	}
	return fmt.Sprintf("%s dport set %d", d.proto, rewritten)
}

// partial draws a field of a few bytes of an address, or of one byte of the port, with the
// values that packets of this world have there. Of sources it is never all: what has another
// value would be a packet that nobody sends here, and somebody may elsewhere.
func (d *native) partial() field {
	if d.IntN(4) == 0 && d.proto != "" {
		return [2]field{{"@th,16,8", "", []string{"0x1f", "0x23"}, nil}, {"@th,24,8", "", []string{"0x90", "0x91"}, nil}}[d.IntN(2)]
	}
	base, size, addrs := 128, 4, []string{"192.0.2.1", "198.51.100.1", "127.0.0.1"}
	if d.IntN(3) == 0 {
		base, addrs = 96, []string{d.pick("192.0.2.2", "10.1.1.1"), "192.0.2.77"}
	}
	if d.v6 {
		size = 16
		if base, addrs = 192, []string{"2001:db8:2::1", "2001:db8:3::1", "::1"}; d.IntN(3) == 0 {
			base, addrs = 64, [][]string{{"2001:db8:2::2", "2001:db8:2::77"}, {"fd00::5"}}[d.IntN(2)]
		}
	}
	at := d.IntN(size)
	n := 1 + d.IntN(min(size-at, 8))
	f := field{expr: fmt.Sprintf("@nh,%d,%d", base+8*at, 8*n)}
	for _, a := range addrs {
		v := "0x" + hex.EncodeToString(netip.MustParseAddr(a).AsSlice()[at:at+n])
		if !strings.Contains(strings.Join(f.values, " ")+" ", v+" ") {
			f.values = append(f.values, v)
		}
	}
	return f
}

// partialMatch matches such a field: alone, in a set, or at any place of a concatenation. A
// raw load of the network header needs a match of the family in an inet table.
func (d *native) partialMatch() string {
	f := d.partial()
	family := ""
	if d.table.Family == "inet" && strings.HasPrefix(f.expr, "@nh") {
		family = "meta nfproto " + map[bool]string{false: "ipv4 ", true: "ipv6 "}[d.v6]
	}
	eq := d.eq()
	if len(f.values) == 1 { // all packets have it
		eq = ""
	}
	switch d.IntN(6) {
	case 0:
		return family + f.expr + " " + eq + "{ " + strings.Join(f.values, ", ") + " }"
	case 1, 2:
		if d.proto == "tcp" || d.proto == "udp" {
			return family + d.partialConcat(f)
		}
	case 3:
		return family + fmt.Sprintf("%s vmap { %s : %s }", f.expr, d.pick(f.values...), d.pick("continue", "return", "accept"))
	}
	return family + f.expr + " " + eq + d.pick(f.values...)
}

// partialConcat puts the field before the port, behind it, or behind an address.
func (d *native) partialConcat(f field) string {
	l := lookup{f, {expr: d.proto + " dport", values: []string{"8080"}}}
	if d.IntN(2) == 0 {
		l[0], l[1] = l[1], l[0]
	}
	if d.IntN(3) == 0 {
		l = append(lookup{d.addrField(d.pick("daddr", "saddr"))}, l...)
	}
	elem := func() string { return l.join(func(f field) string { return f.values[d.IntN(len(f.values))] }) }
	first, second := elem(), elem()
	if second == first {
		second = ""
	} else {
		second = ", " + second
	}
	switch d.IntN(4) {
	case 0:
		verdict := d.pick("continue", "return", "accept")
		if second != "" {
			second += " : " + d.pick("continue", "return", "accept")
		}
		return l.expr() + " vmap { " + first + " : " + verdict + second + " }"
	case 1:
		if second != "" {
			second += " : 0x0"
		}
		return "meta mark set " + l.expr() + " map { " + first + " : 0x1" + second + " }"
	}
	return l.expr() + " " + d.eq() + "{ " + first + second + " }"
}

// drawn translates to a target that is drawn, or hashed. Its map knows all values or not.
func (d *native) drawn() string {
	elems := "0 : " + d.target()
	if d.IntN(2) == 0 {
		elems += ", 1 : " + d.target()
	}
	return d.dnatTo() + d.pick("numgen random", "numgen inc", "jhash "+d.nfAddr()+" saddr") + " mod 2 map { " + elems + " }"
}

// besideTables adds rules of iptables' tables raw and mangle.
func (g *gen) besideTables(s *Set) {
	for _, table := range []string{"raw", "mangle"} {
		if g.IntN(3) > 0 {
			continue
		}
		for _, chain := range []string{"PREROUTING", "OUTPUT"} {
			for range 1 + g.IntN(2) {
				s.Rules = append(s.Rules, Rule{Table: table, Chain: chain, Text: g.besideRule(table, chain)})
			}
		}
	}
}

func (g *gen) besideRule(table, chain string) string {
	proto := g.pick("tcp", "udp")
	m := []string{"-p " + proto}
	if g.IntN(2) == 0 {
		m = append(m, g.port(proto))
	}
	if g.IntN(2) == 0 {
		m = append(m, g.match(chain))
	}
	targets := []string{"MARK --set-xmark 0x1/0x1", "MARK --set-xmark 0x2/0xffffffff", "CONNMARK --set-xmark 0x1/0x1", "CONNMARK --restore-mark --nfmask 0x3 --ctmask 0x3", "CONNMARK --save-mark", "ACCEPT", "RETURN", "DROP"}
	switch table {
	case "raw":
		targets = append(targets, "CT --notrack", "CT --notrack", "CT --ctevents new")
	case "mangle":
		targets = append(targets, "HMARK --hmark-tuple src,dst,sport --hmark-mod 2 --hmark-offset 1 --hmark-rnd 0x7")
	}
	return strings.Join(dedupe(append(m, "-j "+g.pick(targets...))), " ")
}

// besideMatch draws what a rule of iptables may ask beside addresses and ports.
func (g *gen) besideMatch(chain string) string {
	n := "4"
	if g.v6 {
		n = "6"
	}
	switch g.IntN(9) {
	case 8:
		if chain == "PREROUTING" { // the node itself has few sources
			return "-m cluster --cluster-total-nodes 2 " + g.not() + "--cluster-local-node 1 --cluster-hash-seed 0x7"
		}
	case 0:
		return "-m connmark " + g.not() + "--mark " + g.pick("0x1/0x1", "0x0/0x1", "0x1")
	case 1:
		return "-m conntrack " + g.not() + "--ctstatus " + g.pick("ASSURED", "CONFIRMED", "SEEN_REPLY,ASSURED")
	case 2:
		if g.rarely() {
			return "-m length " + g.not() + "--length " + g.pick("0:90", "91:65535")
		}
	case 3:
		if g.rarely() {
			return g.lengthMatch(chain)
		}
	case 6:
		return g.spanMatch()
	case 4, 5:
		return "-m set " + g.not() + "--match-set " + g.pick("PAIR"+n+" dst,dst", "PAIR"+n+" src,dst", "PORT dst", "OTHER dst", "NETPORT"+n+" src,dst", "NETPORT"+n+" dst,dst",
			"BITS dst", "THREE"+n+" src,dst,dst", "AND"+n+" dst,dst,src", "FACE"+n+" dst,src", "PAIRS"+n+" dst,dst")
	}
	asks := g.not() + "--match-set " + g.pick("ADDR", "ADDR", "ADDR", "NET", "NET", "NET", "LIST", "LIST", "BUT") + n + " " + g.pick("src", "dst")
	return "-m set " + strings.Replace(asks, "LIST"+n+" src", "FROM"+n+" src", 1) // nobody here sends from a port of OTHER
}

// rarely is for what nobody asks twice on one way, where one answer excludes the other.
func (g *gen) rarely() bool { return g.IntN(3) == 0 }

// lengthMatch asks for the length of packets in another way, or for IPsec.
func (g *gen) lengthMatch(chain string) string {
	switch n := g.IntN(8); {
	case n == 0 && chain == "PREROUTING":
		return "-m policy --dir in --pol none"
	case n < 4:
		return "-m connbytes " + g.not() + "--connbytes 91: --connbytes-dir original --connbytes-mode bytes"
	case g.v6:
		return "-m u32 --u32 " + g.pick("4>>16=0:60", "4>>16=61:65535")
	}
	return "-m u32 --u32 " + g.pick("0&0xFFFF=0:90", "0&0xFFFF=91:65535")
}
