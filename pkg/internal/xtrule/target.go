// SPDX-License-Identifier: Apache-2.0

package xtrule

import (
	"encoding/binary"
	"math"
	"net/netip"
	"strings"

	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// Flags of struct nf_nat_range2 and of those before it.
const (
	mapIPs         = 1
	protoSpecified = 2
	protoRandom    = 4
	fullyRandom    = 16
)

// target makes what is done to the packets; nothing is no expression.
func (m *maker) target(s iptsave.Spec) []nft.Expr {
	codes := map[string]int32{"ACCEPT": nft.Accept, "DROP": nft.Drop, "RETURN": nft.Return, "QUEUE": nft.Queue}
	code, verdict := codes[s.Target]
	switch {
	case s.Target == "":
		return nil
	case s.Goto:
		return []nft.Expr{nft.Verdict{Code: nft.Goto, Chain: s.Target}.Expr()}
	case verdict:
		return []nft.Expr{nft.Verdict{Code: code}.Expr()}
	case m.table.Chain(s.Target) != nil:
		return []nft.Expr{nft.Verdict{Code: nft.Jump, Chain: s.Target}.Expr()}
	}
	i := xt.Info{Name: s.Target, IPv6: m.ipv6}
	w := &writer{ipv6: m.ipv6}
	switch s.Target {
	case "MARK":
		i.Rev = 2
		w.markTarget(s)
	case "CONNMARK":
		i.Rev = 2
		w.connmark(s)
	case "DNAT":
		i.Rev = 2
		w.natRange(s, "--to-destination")
		w.u16(0) // base_proto
	case "REDIRECT", "MASQUERADE":
		w.redirect(s)
	case "NETMAP":
		w.netmap(s)
	case "TPROXY":
		i.Rev = 1
		w.tproxy(s)
	case "SET":
		i.Rev = 3
		w.set(s)
	case "CT": // --notrack
		i.Rev = 2
		w.u32(1)
	case "REJECT": // with icmp-port-unreachable
		w.u32(map[bool]uint32{false: 3, true: 4}[m.ipv6])
	default:
		for _, o := range s.TargetOptions {
			w.b = append(w.b, o.String()+" "...)
		}
	}
	i.Data = pad(w.b)
	return []nft.Expr{xt.TargetExpr(i)}
}

// markTarget writes struct xt_mark_tginfo2. What is to be set with --set-mark is or'ed.
func (w *writer) markTarget(s iptsave.Spec) {
	for _, o := range s.TargetOptions {
		value, mask := w.marks(o.Value())
		switch o.Name {
		case "--set-mark":
			mask |= value
		case "--or-mark":
			mask = value
		case "--and-mark":
			value, mask = 0, ^value
		case "--xor-mark":
			mask = 0
		}
		w.u32(value)
		w.u32(mask)
	}
}

// connmark writes struct xt_connmark_tginfo2, which shifts nothing.
func (w *writer) connmark(s iptsave.Spec) {
	value, ctmask, nfmask, mode := uint32(0), uint32(math.MaxUint32), uint32(math.MaxUint32), uint8(0)
	for _, o := range s.TargetOptions {
		switch o.Name {
		case "--set-xmark":
			value, ctmask = w.marks(o.Value())
		case "--set-mark":
			value, ctmask = w.marks(o.Value())
			ctmask |= value
		case "--save-mark":
			mode = 1
		case "--restore-mark":
			mode = 2
		case "--nfmask":
			nfmask = w.number(o.Value(), 32)
		case "--ctmask":
			ctmask = w.number(o.Value(), 32)
		}
	}
	w.u32(value)
	w.u32(ctmask)
	w.u32(nfmask)
	w.u8(0, 0, mode)
}

// set writes struct xt_set_info_target_v3, without the numbers that the kernel has for sets.
func (w *writer) set(s iptsave.Spec) {
	const mapsMark = 1 << 8 // IPSET_FLAG_MAP_SKBMARK
	w.u32(0)
	w.u32(0)
	w.u32(0)
	var flags uint32
	if _, ok := iptsave.Find(s.TargetOptions, "--map-mark"); ok {
		flags = mapsMark
	}
	w.u32(flags)
	w.u32(0)
}

// natRange writes struct nf_nat_range, the beginning of nf_nat_range2, of an option such
// as "10.0.0.1-10.0.0.9:80-90", which may be missing.
func (w *writer) natRange(s iptsave.Spec, name string) {
	o, _ := iptsave.Find(s.TargetOptions, name)
	lo, hi, from, to, flags := destination(o.Value())
	if o, ok := iptsave.Find(s.TargetOptions, "--to-ports"); ok {
		from, to = span(w, o.Value())
		flags |= protoSpecified
	}
	w.u32(flags | random(s))
	w.addr(lo)
	w.addr(hi)
	w.b = binary.BigEndian.AppendUint16(w.b, from)
	w.b = binary.BigEndian.AppendUint16(w.b, to)
}

func span(w *writer, s string) (from, to uint16) {
	lo, hi, ranged := strings.Cut(s, "-")
	if !ranged {
		hi = lo
	}
	return uint16(w.number(lo, 16)), uint16(w.number(hi, 16))
}

func random(s iptsave.Spec) (flags uint32) {
	if _, ok := iptsave.Find(s.TargetOptions, "--random"); ok {
		flags |= protoRandom
	}
	if _, ok := iptsave.Find(s.TargetOptions, "--random-fully"); ok {
		flags |= fullyRandom
	}
	return flags
}

// destination reads a list of addresses and ports.
func destination(s string) (lo, hi netip.Addr, from, to uint16, flags uint32) {
	lo, hi = netip.IPv6Unspecified(), netip.IPv6Unspecified()
	host, ports := s, ""
	if inner, rest, ok := strings.Cut(strings.TrimPrefix(s, "["), "]"); ok && strings.HasPrefix(s, "[") {
		host, ports = inner, strings.TrimPrefix(rest, ":")
	} else if strings.Count(s, ":") == 1 {
		host, ports, _ = strings.Cut(s, ":")
	}
	first, last, ranged := strings.Cut(host, "-")
	if !ranged {
		last = first
	}
	if a, err := netip.ParseAddr(first); err == nil {
		lo, hi, flags = a, a, mapIPs
		if b, err := netip.ParseAddr(last); err == nil {
			hi = b
		}
	}
	if ports != "" {
		from, to = span(&writer{}, ports)
		flags |= protoSpecified
	}
	return lo, hi, from, to, flags
}

// redirect writes struct nf_nat_ipv4_multi_range_compat, or nf_nat_range for IPv6.
func (w *writer) redirect(s iptsave.Spec) {
	if w.ipv6 {
		w.natRange(s, "")
		return
	}
	var from, to uint16
	flags := random(s)
	if o, ok := iptsave.Find(s.TargetOptions, "--to-ports"); ok {
		from, to = span(w, o.Value())
		flags |= protoSpecified
	}
	w.u32(1)
	w.u32(flags)
	w.b = append(w.b, make([]byte, 8)...)
	w.b = binary.BigEndian.AppendUint16(w.b, from)
	w.b = binary.BigEndian.AppendUint16(w.b, to)
}

// netmap writes a network as a range, from its address to its mask.
func (w *writer) netmap(s iptsave.Spec) {
	o, _ := iptsave.Find(s.TargetOptions, "--to")
	addr, mask, ok := address(o.Value())
	switch {
	case !ok:
	case w.ipv6:
		w.u32(mapIPs)
		w.addr(addr)
		w.addr(last(addr, mask))
		w.u32(0)
	default:
		w.u32(1)
		w.u32(mapIPs)
		w.b = append(append(w.b, addr.AsSlice()...), last(addr, mask).AsSlice()...)
		w.u32(0)
	}
}

func last(addr, mask netip.Addr) netip.Addr {
	b := addr.AsSlice()
	for i, m := range mask.AsSlice() {
		b[i] |= ^m
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// tproxy writes struct xt_tproxy_target_info_v1.
func (w *writer) tproxy(s iptsave.Spec) {
	port, _ := iptsave.Find(s.TargetOptions, "--on-port")
	ip, _ := iptsave.Find(s.TargetOptions, "--on-ip")
	var value, mask uint32
	if o, ok := iptsave.Find(s.TargetOptions, "--tproxy-mark"); ok {
		value, mask = w.marks(o.Value())
	}
	w.u32(mask)
	w.u32(value)
	addr, err := netip.ParseAddr(ip.Value())
	if err != nil {
		addr = netip.IPv6Unspecified()
	}
	w.addr(addr)
	w.b = binary.BigEndian.AppendUint16(w.b, uint16(w.number(port.Value(), 16)))
}
