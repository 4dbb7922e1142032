// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// A field is one part of the key of a set or map. Its values do not overlap,
// because the kernel refuses sets whose elements do; the first is the one that
// most probes meet.
type field struct {
	expr, typ      string
	values, ranges []string
}

// A lookup is the key of a set or map: one field or a concatenation.
type lookup []field

func (l lookup) join(part func(field) string) string {
	var out []string
	for _, f := range l {
		out = append(out, part(f))
	}
	return strings.Join(out, " . ")
}

func (l lookup) expr() string { return l.join(func(f field) string { return f.expr }) }
func (l lookup) typ() string  { return l.join(func(f field) string { return f.typ }) }

// portField is the destination port, spelled as the rule's protocol allows.
func (d *native) portField() field {
	expr := "th dport"
	if (d.proto == "tcp" || d.proto == "udp") && d.IntN(2) == 0 {
		expr = d.proto + " dport"
	}
	return field{expr, "inet_service", []string{"8080", "80", "8081", "443"}, []string{"8000-8090", "80", "9000-9100", "443-444"}}
}

func (d *native) protoField() field {
	list := []string{"tcp", "udp"}
	return field{"meta l4proto", "inet_proto", list, list}
}

func (d *native) addrField(dir string) field {
	f := field{expr: d.nfAddr() + " " + dir, typ: "ipv4_addr"}
	if d.v6 {
		f.typ = "ipv6_addr"
		f.values = []string{"2001:db8:2::1", "2001:db8:3::1", "::1", "fd00::5"}
		f.ranges = []string{"2001:db8:2::/64", "2001:db8:3::1-2001:db8:3::9", "::1", "fd00::/8"}
		if dir == "saddr" {
			f.values[0], f.values[1] = "2001:db8:2::2", "2001:db8:3::2"
		}
		return f
	}
	f.values = []string{"192.0.2.1", "198.51.100.1", "127.0.0.1", "10.1.1.1"}
	f.ranges = []string{"192.0.2.0/24", "198.51.100.1-198.51.100.9", "127.0.0.0/8", "10.0.0.0/8"}
	if dir == "saddr" {
		f.values[0], f.values[1] = "192.0.2.2", "198.51.100.2"
	}
	return f
}

// concat draws a concatenation, mostly one of the two that kube-proxy uses.
func (d *native) concat() lookup {
	switch d.IntN(6) {
	case 0:
		return lookup{d.addrField("daddr"), d.portField()}
	case 1:
		return lookup{d.addrField("saddr"), d.protoField(), d.portField()}
	case 2, 3:
		return lookup{d.protoField(), d.portField()}
	}
	return lookup{d.addrField("daddr"), d.protoField(), d.portField()}
}

// keys draws elements, different ones; interval allows ranges and prefixes.
func (d *native) keys(l lookup, interval bool) []string {
	var out []string
	for range 1 + d.IntN(4) {
		e := l.join(func(f field) string {
			list := f.values
			if interval {
				list = f.ranges
			}
			if d.IntN(2) == 0 {
				return list[0]
			}
			return d.pick(list...)
		})
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// collection draws a set, or a map if value gives values, of the type typ: its
// name, or itself if it is anonymous.
func (d *native) collection(l lookup, typ string, value func() string) string {
	interval := d.IntN(2) == 0
	var elems []string
	for _, k := range d.keys(l, interval) {
		if value != nil {
			k += " : " + value()
		}
		elems = append(elems, k)
	}
	list := "{ " + strings.Join(elems, ", ") + " }"
	if d.IntN(2) == 0 {
		return list
	}
	kind, name := "set", fmt.Sprintf("s%d", len(d.table.Objects))
	full := l.typ()
	if value != nil {
		kind, name = "map", fmt.Sprintf("m%d", len(d.table.Objects))
		full += " : " + typ
	}
	o := fmt.Sprintf("%s %s { type %s; ", kind, name, full)
	if interval {
		o += "flags interval; "
	}
	// An empty one is usual: kube-proxy makes its maps before the elements.
	if d.IntN(16) > 0 {
		o += "elements = " + list + "; "
	}
	d.table.Objects = append(d.table.Objects, o+"}")
	return "@" + name
}

// ports draws the right-hand side of a port match.
func (d *native) ports() string {
	switch d.IntN(4) {
	case 0:
		return d.eq() + d.pick("8080", "8080", "8080", "8081")
	case 1:
		return d.eq() + d.pick("8000-8080", "8080-8090", "8081-9000", "0-65535", "1-1023")
	}
	return d.eq() + d.collection(lookup{d.portField()}, "", nil)
}

// dport matches the port in a way that leaves port 8080 in most of the time.
func (d *native) dport() string {
	if d.IntN(3) == 0 {
		l := d.concat()
		return l.expr() + " " + d.eq() + d.collection(l, "", nil)
	}
	return d.portField().expr + " " + d.ports()
}

// addr matches the source or destination address.
func (d *native) addr() string {
	f := d.addrField(d.pick("daddr", "daddr", "saddr"))
	switch d.IntN(5) {
	case 0:
		return f.expr + " " + d.eq() + d.pick(f.values...)
	case 1:
		return f.expr + " " + d.eq() + d.pick(f.ranges...)
	case 2:
		mask, net := "255.255.255.0", "192.0.2.0"
		if d.v6 {
			mask, net = "ffff:ffff:ffff:ffff::", "2001:db8:2::"
		}
		// Written so that nft cannot make a prefix of it now and then.
		if d.IntN(2) == 0 {
			return fmt.Sprintf("%s & %s == %s", f.expr, mask, net)
		}
		return fmt.Sprintf("%s & %s != %s", f.expr, mask, net)
	}
	return f.expr + " " + d.eq() + d.collection(lookup{f}, "", nil)
}

func (d *native) match() string {
	switch d.IntN(16) {
	case 15:
		if !d.rarely() {
			break
		}
		return d.pick("meta length ", "ct original bytes ") + d.pick("0-90", "!= 0-90", "> 90")
	case 10:
		return d.span()
	case 11, 12:
		return d.partialMatch()
	case 13:
		return d.pick("ct mark ", "ct mark ", "meta mark ") + d.pick("1", "!= 1", "& 0x1 == 0x1", "& 0x3 != 0x1", "0")
	case 14:
		return "ct " + d.pick("status", "status !=") + " " + d.pick("assured", "confirmed", "seen-reply")
	case 0, 1, 2:
		return d.addr()
	case 3, 4:
		types := d.pick("local", "local", "local", "unicast", "broadcast", "{ local, broadcast }")
		key := d.pick("daddr", "daddr", "daddr", "saddr")
		if d.hook == "prerouting" && d.IntN(4) == 0 {
			key += " . iif" // refused where output may lead to
		}
		return "fib " + key + " type " + d.eq() + types
	case 5, 6:
		return d.link()
	case 7:
		return "meta mark " + d.pick("1", "!= 1", "0", "& 0x1 == 0x1", "& 0x1 != 0x1", "and 0x1 == 0x1", "{ 1, 2 }", "0-4", "!= 1-4")
	case 8:
		return "ct state " + d.pick("new", "new", "new,established", "established,related", "{ new, established }", "!= new", "!= established", "invalid")
	case 9:
		if d.table.Family == "inet" {
			return "meta nfproto " + map[bool]string{false: "ipv4", true: "ipv6"}[d.v6]
		}
	}
	return d.addr()
}

// link matches an interface; now and then the one that the hook does not have,
// whose name the kernel takes for "".
func (d *native) link() string {
	key := d.pick("iifname", "oifname")
	switch {
	case d.IntN(8) == 0:
		return d.pick("iif", "oif") + " " + d.eq() + "lo"
	case d.hook == "prerouting" && d.IntN(8) > 0:
		key = "iifname"
	case d.hook == "output" && d.IntN(8) > 0:
		key = "oifname"
	}
	return key + " " + d.eq() + d.pick(`"eth0"`, `"ens1"`, `"eth*"`, `"lo"`, `"ens*"`, `{ "eth0", "lo" }`, `{ "eth*", "lo" }`)
}
