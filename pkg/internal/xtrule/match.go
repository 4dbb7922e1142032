// SPDX-License-Identifier: Apache-2.0

package xtrule

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/xt"
)

// A group is a match with its options.
type group struct {
	module string
	opts   []iptsave.Option
}

// groups sorts options by the match that they belong to. A port without -m belongs to
// that of the protocol.
func (m *maker) groups(list []iptsave.Option) []group {
	var out []group
	for _, o := range list {
		switch {
		case slices.Contains([]string{"-s", "-d", "-p", "-i", "-o", "-f"}, o.Name):
		case o.Name == "-m":
			out = append(out, group{module: o.Value()})
		case len(out) == 0 || o.Module == "":
			out = append(out, group{m.proto, []iptsave.Option{o}})
		default:
			last := &out[len(out)-1]
			last.opts = append(last.opts, o)
		}
	}
	return out
}

// option returns the first option of one of the names.
func (g group) option(names ...string) (iptsave.Option, bool) {
	for _, o := range g.opts {
		if slices.Contains(names, o.Name) {
			return o, true
		}
	}
	return iptsave.Option{}, false
}

// match writes a match. One that is not known, or cannot be written, has its text in the
// place of its information: nobody takes that for what it is not.
func (m *maker) match(g group) xt.Info {
	opaque := xt.Info{Name: g.module, IPv6: m.ipv6}
	for _, o := range g.opts {
		opaque.Data = append(opaque.Data, o.String()+" "...)
	}
	name, rev, write := m.writer(g.module)
	if write == nil {
		return opaque
	}
	w := &writer{ipv6: m.ipv6}
	if write(w, g); w.failed {
		return opaque
	}
	return xt.Info{Name: name, Rev: rev, Data: pad(w.b), IPv6: m.ipv6}
}

func (m *maker) writer(module string) (name string, rev uint32, write func(*writer, group)) {
	if module == "state" {
		module = "conntrack"
	}
	known := map[string]struct {
		rev   uint32
		write func(*writer, group)
	}{
		"comment": {0, comment}, "tcp": {0, tcp}, "udp": {0, udp}, "sctp": {0, sctp}, "multiport": {1, multiport}, "addrtype": {1, addrtype},
		"mark": {1, mark}, "connmark": {1, mark}, "conntrack": {3, conntrack}, "iprange": {1, iprange}, "set": {4, m.set},
		"socket": {3, socket}, "length": {0, length}, "ttl": {0, hops}, "hl": {0, hops},
	}[module]
	return module, known.rev, known.write
}

// pad fills up to eight bytes, as XT_ALIGN does.
func pad(b []byte) []byte { return append(b, make([]byte, (8-len(b)%8)%8)...) }

// A writer writes a structure of the kernel.
type writer struct {
	b      []byte
	ipv6   bool
	failed bool
}

func (w *writer) u8(ns ...uint8) { w.b = append(w.b, ns...) }

func (w *writer) u16(n uint16) { w.b = binary.NativeEndian.AppendUint16(w.b, n) }

func (w *writer) u32(n uint32) { w.b = binary.NativeEndian.AppendUint32(w.b, n) }

// addr writes a union nf_inet_addr.
func (w *writer) addr(a netip.Addr) {
	w.b = append(w.b, append(a.AsSlice(), make([]byte, 16-a.BitLen()/8)...)...)
}

// number reads a decimal or hexadecimal number.
func (w *writer) number(s string, size int) uint32 {
	n, err := strconv.ParseUint(s, 0, size)
	w.failed = w.failed || err != nil
	return uint32(n)
}

// only fails if the match has options that are not written.
func (w *writer) only(g group, names ...string) {
	for _, o := range g.opts {
		w.failed = w.failed || !slices.Contains(names, o.Name)
	}
}

func comment(w *writer, g group) {
	const size = 256
	o, _ := g.option("--comment")
	w.b = append(w.b, o.Value()[:min(len(o.Value()), size-1)]...)
	w.b = append(w.b, make([]byte, size-len(w.b))...)
}

func is(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func addrtype(w *writer, g group) {
	const notSource, notDest, limitIn, limitOut = 1, 2, 4, 8
	w.only(g, "--src-type", "--dst-type", "--limit-iface-in", "--limit-iface-out")
	var flags uint32
	for i, name := range []string{"--src-type", "--dst-type"} {
		o, ok := g.option(name)
		if o.Not {
			flags |= uint32(notSource << i)
		}
		var mask uint16
		if ok {
			mask = w.bits(o.Value(), "UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST",
				"BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE")
		}
		w.u16(mask)
	}
	for name, bit := range map[string]uint32{"--limit-iface-in": limitIn, "--limit-iface-out": limitOut} {
		if _, ok := g.option(name); ok {
			flags |= bit
		}
	}
	w.u32(flags)
}

func socket(w *writer, g group) {
	w.only(g, "--transparent", "--nowildcard", "--restore-skmark")
	var flags uint8
	for i, name := range []string{"--transparent", "--nowildcard", "--restore-skmark"} {
		if _, ok := g.option(name); ok {
			flags |= 1 << i
		}
	}
	w.u8(flags)
}

// bits reads a list of words that stand for bits.
func (w *writer) bits(list string, words ...string) (mask uint16) {
	for s := range strings.SplitSeq(list, ",") {
		n := slices.Index(words, s)
		if s == "" || n < 0 {
			w.failed = true
			return 0
		}
		mask |= 1 << n
	}
	return mask
}

func mark(w *writer, g group) {
	o, ok := g.option("--mark")
	w.failed = !ok || len(g.opts) != 1
	value, mask := w.marks(o.Value())
	w.u32(value)
	w.u32(mask)
	w.u8(is(o.Not))
}

// marks reads "VALUE" or "VALUE/MASK".
func (w *writer) marks(s string) (value, mask uint32) {
	v, m, masked := strings.Cut(s, "/")
	if value, mask = w.number(v, 32), math.MaxUint32; masked {
		mask = w.number(m, 32)
	}
	return value, mask
}

func iprange(w *writer, g group) {
	w.only(g, "--src-range", "--dst-range")
	var flags uint8
	for i, name := range []string{"--src-range", "--dst-range"} {
		o, ok := g.option(name)
		if !ok {
			w.b = append(w.b, make([]byte, 32)...)
			continue
		}
		flags |= 1 << i
		if o.Not {
			flags |= 16 << i
		}
		lo, hi, _ := strings.Cut(o.Value(), "-")
		for _, s := range []string{lo, hi} {
			a, err := netip.ParseAddr(s)
			w.failed = w.failed || err != nil
			w.addr(a)
		}
	}
	w.u8(flags)
}

// set writes revision 4 of the set match.
func (m *maker) set(w *writer, g group) {
	o, ok := g.option("--match-set")
	w.only(g, "--match-set", "--counters", "--return-nomatch")
	if w.failed = w.failed || !ok || len(o.Values) != 2; w.failed {
		return
	}
	dims := strings.Split(o.Values[1], ",")
	flags := is(o.Not)
	for i, d := range dims {
		if d == "src" {
			flags |= 2 << i
		}
	}
	w.u16(m.tables.setIndex(o.Values[0]))
	w.u8(uint8(len(dims)), flags)
	w.b = append(w.b, make([]byte, 44-len(w.b))...)
	if _, counted := g.option("--counters"); counted { // what "--packets-gt 0" and the like are read as
		w.b[16] = 3 // IPSET_COUNTER_GT
	}
	if _, exceptions := g.option("--return-nomatch"); exceptions {
		w.b[40] = 1 << 7 // IPSET_FLAG_RETURN_NOMATCH
	}
}
