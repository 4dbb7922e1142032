// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/nft"
)

// step evaluates one expression for a thread and returns the threads that are
// still on the rule. The names and numbers are those of the kernel's
// net/netfilter/nft_*.c and include/uapi/linux/netfilter/nf_tables.h.
func (x *run) step(th thread, e nft.Expr) ([]thread, error) {
	switch e.Name {
	case "meta":
		return x.meta(th, e.Attrs), nil
	case "payload":
		return x.payload(th, e.Attrs), nil
	case "ct":
		return x.ct(th, e.Attrs), nil
	case "fib":
		return x.fib(th, e.Attrs), nil
	case "cmp":
		return x.cmp(th, e.Attrs)
	case "range":
		return x.between(th, e.Attrs)
	case "bitwise":
		return bitwise(th, e.Attrs)
	case "byteorder":
		return byteorder(th, e.Attrs), nil
	case "lookup":
		return x.lookup(th, e.Attrs)
	case "immediate":
		return x.immediate(th, e.Attrs)
	case "nat":
		return x.nat(th, e.Attrs), nil
	case "redir":
		x.out(th, translates, "redirect", "", false)
		return nil, nil
	case "tproxy":
		return x.tproxy(th, e.Attrs), nil
	case "masq", "reject", "queue":
		x.out(th, ends, e.Name, "", false)
		return nil, nil
	case "fwd":
		x.out(th, ends, "fwd", "", false)
		return nil, nil
	case "notrack":
		return x.untrack(th), nil
	case "counter", "log", "last", "dup", "secmark":
		return x.stay(th), nil
	case "limit", "quota", "connlimit", "objref", "dynset", "synproxy", "flow_offload":
		return x.maybe(th, Some), nil
	case "numgen", "hash":
		return x.drawn(th, e), nil
	case "exthdr", "rt", "socket", "osf", "xfrm", "tunnel", "inner":
		// They load something open into a register, or find nothing to load.
		th.regs = registers{}
		return x.maybe(th, Some), nil
	case "match":
		return x.xtMatch(th, e)
	case "target":
		return x.xtTarget(th, e), nil
	}
	x.anything(th, e.Name)
	th.regs, th.open = registers{}, Unknown
	return x.stay(th), nil
}

// Keys of meta.
const (
	metaProtocol = 1
	metaMark     = 3
	metaIif      = 4
	metaOif      = 5
	metaIifName  = 6
	metaOifName  = 7
	metaNfproto  = 15
	metaL4proto  = 16
)

func (x *run) meta(th thread, a nft.Attrs) []thread {
	key, _ := a.Num(2)
	if sreg, set := a.Num(3); set {
		if key == metaMark {
			th.b.mark, th.altered = newMark(th.b, th.regs.take(sreg, 4)), true
		}
		return x.stay(th)
	}
	dreg, _ := a.Num(1)
	switch {
	case key == metaNfproto:
		th.regs.store(dreg, []byte{x.family()})
	case key == metaL4proto:
		th.regs.store(dreg, []byte{uint8(x.p.Proto)})
	case key == metaProtocol && x.family() == nft.IPv4:
		th.regs.store(dreg, []byte{0x08, 0x00})
	case key == metaProtocol:
		th.regs.store(dreg, []byte{0x86, 0xdd})
	case key == metaMark:
		th.regs.loadMark(dreg, ofMark, th.b.mark)
	case x.p.Hook == Forward && key == metaOifName && x.p.Out != "":
		th.regs.store(dreg, append([]byte(x.p.Out), make([]byte, 16-len(x.p.Out))...))
	case x.p.Hook == Forward && (key == metaOifName || key == metaIif || key == metaOif):
		th.regs.load(dreg, ofAnything, 0, 16)
	case key == metaIifName && x.p.Hook != Output:
		th.regs.load(dreg, ofIn, 0, 16)
	case key == metaOifName && x.p.Hook == Output && !x.p.Absent:
		th.regs.store(dreg, append([]byte("lo"), make([]byte, 14)...))
	case key == metaIifName, key == metaOifName && x.p.Hook != Output:
		th.regs.store(dreg, make([]byte, 16)) // no such interface: an empty name
	case key == metaIif && x.p.Hook != Output:
		th.regs.load(dreg, ofInIndex, 0, 4)
	case key == metaIif && x.p.Hook == Output, key == metaOif && x.p.Hook != Output:
		th.regs.store(dreg, make([]byte, 4)) // no such interface: index 0
	default:
		th.regs.load(dreg, ofAnything, 0, 16)
	}
	return x.stay(th)
}

// newMark is the mark that slots hold: a number, or one of both marks changed.
func newMark(old box, slots []slot) bits {
	if b, ok := bytesOf(slots, 4); ok {
		return number(binary.NativeEndian.Uint32(b))
	}
	of, ok := oneSource(slots)
	switch {
	case !ok:
		return bits{}
	case of == ofMark:
		return old.mark.and(binary.NativeEndian.Uint32(slots[0].mask[:])).xor(number(binary.NativeEndian.Uint32(slots[0].data[:])))
	case of == ofCtMark:
		return old.ctMark.and(binary.NativeEndian.Uint32(slots[0].mask[:])).xor(number(binary.NativeEndian.Uint32(slots[0].data[:])))
	}
	return bits{}
}

// untrack takes packets out of conntrack, if that has not seen them yet (nft_notrack_eval).
func (x *run) untrack(th thread) []thread {
	if x.p.Early {
		x.out(th, untracks, "notrack", "", false)
		th.b.untracked, th.altered = true, true
	}
	return x.stay(th)
}

// drawn loads a number below a modulus, which is an attribute of both expressions, as is
// what is added to it.
func (x *run) drawn(th thread, e nft.Expr) []thread {
	modulus, offset := uint16(2), uint16(4)
	if e.Name == "hash" {
		modulus, offset = 4, 6
	}
	dreg, _ := e.Attrs.Num(1)
	th.regs.load(dreg, ofAnything, 0, 4)
	n, _ := e.Attrs.Num(modulus)
	if add, _ := e.Attrs.Num(offset); add == 0 {
		if i, ok := index(dreg); ok {
			th.regs[i].values = n
		}
	}
	return x.stay(th)
}

func (x *run) family() uint8 { return x.p.Family().NFProto() }

// payload loads header bytes: addresses and the destination port are followed,
// the rest is open.
func (x *run) payload(th thread, a nft.Attrs) []thread {
	dreg, _ := a.Num(1)
	base, _ := a.Num(2)
	off, _ := a.Num(3)
	n, _ := a.Num(4)
	if _, set := a.Get(5); set {
		return x.write(th, base, off, n)
	}
	src, dst, size := 12, 16, 4
	if x.family() == nft.IPv6 {
		src, dst, size = 8, 24, 16
	}
	at := int(off)
	th.regs.load(dreg, ofAnything, 0, int(n))
	switch {
	case base == 1 && at >= src && at+int(n) <= src+size:
		th.regs.load(dreg, ofSrc, at-src, int(n))
	case base == 1 && at >= dst && at+int(n) <= dst+size:
		th.regs.load(dreg, ofDst, at-dst, int(n))
	case base == 1 && at == 9 && n == 1 && x.family() == nft.IPv4:
		th.regs.store(dreg, []byte{uint8(x.p.Proto)})
	case base == 1 && at == 6 && n == 1 && x.family() == nft.IPv6:
		th.regs.load(dreg, ofNextHdr, 0, 1)
	case base == 2 && at >= 2 && at+int(n) <= 4:
		th.regs.storePort(dreg, x.p.Port, at-2, int(n))
	case base == 2 && at == 0 && n == 4: // nft joins "sport 1 dport 2" to one load
		th.regs.load(dreg, ofPorts, 0, 4)
		x.hop.NamesPort = true
	}
	return x.stay(th)
}

// Rewrites is the target of rules that write into the destination of packets, which they
// may do at every hook and without conntrack.
const Rewrites = "rewrite"

// write writes into the packet.
func (x *run) write(th thread, base, off, n uint32) []thread {
	dst, size := uint32(16), uint32(4)
	if x.family() == nft.IPv6 {
		dst, size = 24, 16
	}
	const network, transport, portAt, portSize = 1, 2, 2, 2
	overlaps := func(at, size uint32) bool { return off < at+size && at < off+n }
	switch {
	case base == network && overlaps(dst, size), base == transport && overlaps(portAt, portSize):
		x.out(th, translates, Rewrites, "", false)
		return nil
	case base == network && overlaps(dst-size, size): // the source, and so may be any
		th.b.src, th.altered = addrset.All(x.family() == nft.IPv4), true
	}
	return x.stay(th)
}

// Keys of ct, and bits of its state (NF_CT_STATE_BIT).
const (
	ctState    = 0
	ctDir      = 1
	ctStatus   = 2
	ctMark     = 3
	ctL3proto  = 7
	ctSrc      = 8
	ctDst      = 9
	ctProtocol = 10
	ctProtoDst = 12
	ctSrcIP    = 19
	ctDstIP6   = 22

	stateInvalid   = 1
	stateNew       = 8
	stateUntracked = 64
)

// ct: the packets open a connection that nobody translated yet. Of one that is not there
// only the state is told (nft_ct_get_eval).
func (x *run) ct(th thread, a nft.Attrs) []thread {
	key, _ := a.Num(2)
	none := x.unconnected(th.b)
	if sreg, set := a.Num(4); set {
		if key == ctMark && !none {
			th.b.ctMark, th.altered = newMark(th.b, th.regs.take(sreg, 4)), true
		}
		return x.stay(th)
	}
	if none && key != ctState {
		x.misses(th)
		return nil
	}
	dreg, _ := a.Num(1)
	dir, directed := a.Get(3)
	original := !directed || len(dir) == 1 && dir[0] == 0
	size := 16
	if x.family() == nft.IPv4 {
		size = 4
	}
	th.regs.load(dreg, ofAnything, 0, 16)
	switch {
	case key == ctState:
		th.regs.store(dreg, binary.NativeEndian.AppendUint32(nil, x.state(th.b)))
	case key == ctMark:
		th.regs.loadMark(dreg, ofCtMark, th.b.ctMark)
	case key == ctStatus && x.p.Hook != Forward: // no reply was seen, nothing translated or confirmed
		th.regs.store(dreg, make([]byte, 4))
	case key == ctDir:
		th.regs.store(dreg, []byte{0})
	case key == ctL3proto:
		th.regs.store(dreg, []byte{x.family()})
	case key == ctProtocol:
		th.regs.store(dreg, []byte{uint8(x.p.Proto)})
	case !original:
	case x.p.Hook == Forward: // what it was before the translation
	case key == ctProtoDst:
		th.regs.storePort(dreg, x.p.Port, 0, 2)
	case key == ctSrc:
		th.regs.load(dreg, ofSrc, 0, size)
	case key == ctDst:
		th.regs.load(dreg, ofDst, 0, size)
	case key >= ctSrcIP && key <= ctDstIP6:
		// src/dst by family: an even offset is the source.
		if of := []source{ofSrc, ofDst}[(key-ctSrcIP)%2]; (key >= ctSrcIP+2) == (x.family() == nft.IPv6) {
			th.regs.load(dreg, of, 0, size)
		}
	}
	return x.stay(th)
}

// unconnected reports whether packets have no connection.
func (x *run) unconnected(b box) bool { return b.untracked || x.p.Early }

// state is what conntrack says of packets.
func (x *run) state(b box) uint32 {
	switch {
	case b.untracked:
		return stateUntracked
	case x.p.Early:
		return stateInvalid
	}
	return stateNew
}

// fib: the type of the destination is LOCAL; the rest is open.
func (x *run) fib(th thread, a nft.Attrs) []thread {
	const resultType, bySrc, byDst = 3, 1, 2
	dreg, _ := a.Num(1)
	result, _ := a.Num(2)
	flags, _ := a.Num(3)
	th.regs.load(dreg, ofAnything, 0, 16)
	switch {
	case x.p.Hook == Forward:
	case result == resultType && flags == byDst:
		th.regs.store(dreg, binary.NativeEndian.AppendUint32(nil, 2)) // RTN_LOCAL
	case result == resultType && flags == bySrc:
		th.regs.load(dreg, ofSrcType, 0, 4)
	}
	return x.stay(th)
}

// immediate loads a value or gives a verdict.
func (x *run) immediate(th thread, a nft.Attrs) ([]thread, error) {
	dreg, _ := a.Num(1)
	data, err := a.Nested(2)
	if err != nil {
		return nil, err
	}
	if dreg != 0 {
		th.regs.store(dreg, nft.Value(data))
		return x.stay(th), nil
	}
	v, err := nft.DecodeVerdict(data)
	if err != nil {
		return nil, err
	}
	return x.verdict(th, v), nil
}

// nat translates. In an inet table a rule for one family passes the packets of
// the other, and one of a port alone is for both (nft_nat_inet_eval).
func (x *run) nat(th thread, a nft.Attrs) []thread {
	const dnat = 1
	family, _ := a.Num(2)
	if x.r.table.Family == nft.Inet && uint8(family) != nft.Inet && uint8(family) != x.family() {
		return x.stay(th)
	}
	if typ, _ := a.Num(1); typ != dnat {
		x.out(th, ends, "snat", "", false)
		return nil
	}
	x.hop.To = natTarget(th, a, x.family())
	x.out(th, translates, "dnat", "", false)
	return nil
}

// describe names the expressions of a rule with their numbers.
func describe(r nft.Rule) string {
	var names []string
	for _, e := range r.Exprs {
		switch e.Name {
		case "match", "target":
			names = append(names, e.Name+" "+e.Attrs.Text(1))
		case "lookup":
			names = append(names, "lookup @"+e.Attrs.Text(1))
		case "cmp":
			data, _ := e.Attrs.Nested(3)
			names = append(names, fmt.Sprintf("cmp 0x%x", nft.Value(data)))
		default:
			names = append(names, e.Name)
		}
	}
	return strings.Join(names, ", ")
}
