// SPDX-License-Identifier: Apache-2.0

package oracle

import "strconv"

// verdict draws what happens to a packet; half of the rules translate.
func (d *native) verdict(further []string) string {
	switch n := d.IntN(24); {
	case n < 6:
		return d.dnat()
	case n < 9:
		return d.dnatMap()
	case n < 11:
		return d.redirect()
	case n < 13:
		return "return"
	case n < 15:
		return "accept"
	case n < 17:
		return "meta mark set " + d.pick("0x1", "meta mark or 0x1", "0x0", "meta mark and 0xfffffffe xor 0x1")
	case n == 17:
		return "counter"
	case n == 18 && d.IntN(3) == 0:
		return "drop"
	case n < 22:
		return d.vmap(further)
	}
	return d.branch(further)
}

// branch draws a verdict that an element of a map can have too.
func (d *native) branch(further []string) string {
	if len(further) == 0 || d.IntN(5) == 0 {
		return d.pick("return", "accept", "continue")
	}
	return d.pick("jump ", "jump ", "goto ") + d.pick(further...)
}

func (d *native) vmap(further []string) string {
	l := lookup{d.portField()}
	switch d.IntN(6) {
	case 0:
		l = lookup{d.protoField()}
	case 1:
		l = lookup{d.addrField("daddr")}
	case 2, 3, 4:
		l = d.concat()
	}
	return l.expr() + " vmap " + d.collection(l, "verdict", func() string {
		if d.IntN(16) == 0 {
			return "drop"
		}
		return d.branch(further)
	})
}

// target is where translated packets go.
func (d *native) target() string {
	if d.v6 {
		return "2001:db8:9::9"
	}
	return "203.0.113.9"
}

// dnatTo is "dnat to" with the family, which inet tables need and others allow.
func (d *native) dnatTo() string {
	if d.table.Family == "inet" || d.IntN(4) == 0 {
		return "dnat " + d.nfAddr() + " to "
	}
	return "dnat to "
}

func (d *native) dnat() string {
	if d.IntN(10) == 0 {
		return d.drawn()
	}
	if d.proto == "" || d.IntN(4) == 0 {
		return d.dnatTo() + d.target()
	}
	if d.IntN(6) == 0 {
		return "dnat to :" + strconv.Itoa(portToo) // of either family
	}
	to := d.target()
	if d.v6 {
		to = "[" + to + "]"
	}
	return d.dnatTo() + to + ":" + strconv.Itoa(portToo) + d.pick("", "", "", "-10010", " random", " persistent")
}

func (d *native) redirect() string {
	if d.proto == "" {
		// Without a port a redirect may lead to where the packet goes anyway,
		// and conntrack does not show that.
		return d.dnatTo() + d.target()
	}
	return "redirect to :" + strconv.Itoa(redirected)
}

// dnatMap draws a translation whose target comes from a map. A packet that the
// map does not know goes on to the next rule.
func (d *native) dnatMap() string {
	l := lookup{d.portField()}
	switch d.IntN(4) {
	case 0:
		l = lookup{d.addrField("daddr")}
	case 1:
		l = d.concat()
	case 2:
		l = lookup{d.protoField(), d.portField()}
	}
	typ := "ipv4_addr"
	if d.v6 {
		typ = "ipv6_addr"
	}
	value := d.target()
	// A key that begins with the protocol is a match of it in nft's eyes.
	if (d.proto != "" || l[0].typ == "inet_proto") && d.IntN(3) > 0 {
		typ += " . inet_service"
		value += " . " + strconv.Itoa(portToo)
	}
	return d.dnatTo() + l.expr() + " map " + d.collection(l, typ, func() string { return value })
}
