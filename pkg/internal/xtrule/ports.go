// SPDX-License-Identifier: Apache-2.0

package xtrule

import (
	"math"
	"strings"
)

// ports reads "80", "80:90", ":90" or "80:".
func (w *writer) ports(s string) (lo, hi uint16) {
	from, to, ranged := strings.Cut(s, ":")
	if !ranged {
		n := uint16(w.number(s, 16))
		return n, n
	}
	lo, hi = 0, math.MaxUint16
	if from != "" {
		lo = uint16(w.number(from, 16))
	}
	if to != "" {
		hi = uint16(w.number(to, 16))
	}
	return lo, hi
}

// both writes the ports of tcp and udp, and tells what is negated.
func (w *writer) both(g group) (invert uint8) {
	for i, name := range []string{"--sport", "--dport"} {
		lo, hi := uint16(0), uint16(math.MaxUint16)
		if o, ok := g.option(name); ok {
			if lo, hi = w.ports(o.Value()); o.Not {
				invert |= 1 << i
			}
		}
		w.u16(lo)
		w.u16(hi)
	}
	return invert
}

func tcp(w *writer, g group) {
	w.only(g, "--sport", "--dport", "--syn", "--tcp-flags")
	invert := w.both(g)
	var mask, comp uint8
	if o, ok := g.option("--syn"); ok {
		if mask, comp = 0x17, 0x02; o.Not {
			invert |= 4
		}
	}
	if o, ok := g.option("--tcp-flags"); ok && len(o.Values) == 2 {
		if mask, comp = flags(o.Values[0]), flags(o.Values[1]); o.Not {
			invert |= 4
		}
	}
	w.u8(0, mask, comp, invert)
}

func flags(s string) (n uint8) {
	for f := range strings.SplitSeq(s, ",") {
		n |= map[string]uint8{"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63}[f]
	}
	return n
}

func udp(w *writer, g group) {
	w.only(g, "--sport", "--dport")
	w.u8(w.both(g))
}

// sctp has the destination first, and says in its flags what counts.
func sctp(w *writer, g group) {
	w.only(g, "--sport", "--dport", "--chunk-types")
	var set, not uint32
	for i, name := range []string{"--dport", "--sport"} {
		o, ok := g.option(name)
		var lo, hi uint16
		if ok {
			lo, hi = w.ports(o.Value())
			set |= 2 >> i
		}
		if o.Not {
			not |= 2 >> i
		}
		w.u16(lo)
		w.u16(hi)
	}
	if _, ok := g.option("--chunk-types"); ok {
		set |= 4
	}
	w.b = append(w.b, make([]byte, 284-len(w.b))...)
	w.u32(set)
	w.u32(not)
}

func multiport(w *writer, g group) {
	const maxPorts = 15
	o, ok := g.option("--sports", "--dports", "--ports")
	w.failed = !ok || len(g.opts) != 1
	var ports []uint16
	var ranges [maxPorts]uint8
	for part := range strings.SplitSeq(o.Value(), ",") {
		lo, hi := w.ports(part)
		ports = append(ports, lo)
		if strings.Contains(part, ":") {
			ranges[min(len(ports), maxPorts)-1] = 1
			ports = append(ports, hi)
		}
	}
	if len(ports) > maxPorts {
		w.failed = true
		return
	}
	w.u8(map[string]uint8{"--sports": 0, "--dports": 1, "--ports": 2}[o.Name], uint8(len(ports)))
	for _, p := range append(ports, make([]uint16, maxPorts-len(ports))...) {
		w.u16(p)
	}
	w.u8(ranges[:]...)
	w.u8(is(o.Not))
}

// length writes struct xt_length_info.
func length(w *writer, g group) {
	o, _ := g.option("--length")
	lo, hi := w.ports(o.Value())
	w.u16(lo)
	w.u16(hi)
	w.u8(is(o.Not))
}

// hops writes struct ipt_ttl_info, or ip6t_hl_info: the mode and the number.
func hops(w *writer, g group) {
	for mode, end := range []string{"-eq", "", "-lt", "-gt"} {
		if o, ok := g.option("--" + g.module + end); ok {
			w.u8(uint8(mode)|is(o.Not), uint8(w.number(o.Value(), 8)))
		}
	}
}
