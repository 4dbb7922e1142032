// SPDX-License-Identifier: Apache-2.0

package xtrule

import (
	"net/netip"

	"github.com/portguard/portguard/pkg/iptsave"
)

// A ctOption is an option of conntrack with its bit.
type ctOption struct {
	name string
	bit  uint16
}

func conntrack(w *writer, g group) {
	addrs := []ctOption{{"--ctorigsrc", 4}, {"--ctorigdst", 8}, {"--ctreplsrc", 0x10}, {"--ctrepldst", 0x20}}
	ports := []ctOption{{"--ctorigsrcport", 0x100}, {"--ctorigdstport", 0x200}, {"--ctreplsrcport", 0x400}, {"--ctrepldstport", 0x800}}
	var set, not uint16
	take := func(c ctOption) (iptsave.Option, bool) {
		o, ok := g.option(c.name)
		if ok {
			set |= c.bit
		}
		if o.Not {
			not |= c.bit
		}
		return o, ok
	}
	for _, c := range addrs {
		o, ok := take(c)
		w.ctAddr(o, ok)
	}
	w.b = append(w.b, make([]byte, 8)...) // expiry
	for n, c := range []ctOption{{"--ctstatus", 0x40}, {"--ctexpire", 0x80}} {
		if o, ok := take(c); ok && n == 0 && o.Value() == "" {
			w.failed = true
		}
	}
	proto, _ := take(ctOption{"--ctproto", 2})
	number, known := protocol(proto.Value())
	w.failed = w.failed || proto.Name != "" && !known
	w.u16(uint16(number))
	var high []uint16
	for _, c := range ports {
		var lo, hi uint16
		if o, ok := take(c); ok {
			lo, hi = w.ports(o.Value())
		}
		w.u16(lo)
		high = append(high, hi)
	}
	state := w.ctState(g, &set, &not)
	if o, ok := take(ctOption{"--ctdir", 0x1000}); ok && o.Value() == "REPLY" {
		not |= 0x1000
	}
	w.u16(set)
	w.u16(not)
	w.u16(state)
	w.u16(0) // status
	for _, hi := range high {
		w.u16(hi)
	}
	w.u16(0)
}

func (w *writer) ctAddr(o iptsave.Option, there bool) {
	addr, mask := netip.IPv6Unspecified(), netip.IPv6Unspecified()
	if there {
		var ok bool
		addr, mask, ok = address(o.Value())
		w.failed = w.failed || !ok
	}
	w.addr(addr)
	w.addr(mask)
}

func (w *writer) ctState(g group, set, not *uint16) uint16 {
	o, ok := g.option("--ctstate", "--state")
	if !ok {
		return 0
	}
	*set |= 1
	if o.Not {
		*not |= 1
	}
	return w.bits(o.Value(), "INVALID", "ESTABLISHED", "RELATED", "NEW", "", "", "SNAT", "DNAT", "UNTRACKED")
}
