// SPDX-License-Identifier: Apache-2.0

package oracle

// span asks for what all packets have, or for what none has.
func (d *native) span() string {
	hops, version, length, least := "ip ttl ", "ip version ", "ip length ", "28"
	if d.v6 {
		hops, version, length, least = "ip6 hoplimit ", "ip6 version ", "ip6 length ", "8"
	}
	switch n := d.IntN(10); {
	case n == 0:
		return version + d.pick("4", "6", "!= 4", "!= 6")
	case n == 1:
		return length + d.pick("< ", ">= ") + least
	case n < 4:
		return "meta length " + d.pick("0-65535", "> 27", "< 28", "!= 0", "0")
	case n == 4:
		return "ct zone " + d.pick("0", "0", "!= 0", "0-100", "7")
	case n == 5 && d.proto == "tcp":
		return "tcp doff " + d.pick("< 5", ">= 5")
	case n == 5 && d.proto == "udp":
		return "udp length " + d.pick("< 8", ">= 8")
	case n == 6 && !d.v6:
		return "ip hdrlength " + d.pick("< 5", ">= 5", "0-15")
	}
	return hops + d.pick("> 0", "!= 0", "0", "1-255", "!= 1-255", "{ 1-127, 128-255 }", "{ 0, 255 }")
}

// spanMatch asks for the same in iptables.
func (g *gen) spanMatch() string {
	hops, least := "ttl", "28"
	if g.v6 {
		hops, least = "hl", "48"
	}
	if g.IntN(2) == 0 {
		return "-m length " + g.not() + "--length " + g.pick("0:65535", "0:7", least+":65535")
	}
	return "-m " + hops + " " + g.pick("--"+hops+"-gt 0", "--"+hops+"-lt 1", "! --"+hops+"-eq 0", "--"+hops+"-eq 0")
}
