// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/nft"
)

// step evaluates one expression for a thread, and lets those stay that are still on the
// rule. It may change the thread. The names and numbers are those of the kernel's
// net/netfilter/nft_*.c and include/uapi/linux/netfilter/nf_tables.h.
func (x *run) step(th *thread, e nft.Expr) error {
	switch e.Name {
	case "meta":
		x.meta(th, e.Attrs)
	case "payload":
		x.payload(th, e.Attrs)
	case "ct":
		x.ct(th, e.Attrs)
	case "fib":
		x.fib(th, e.Attrs)
	case "cmp":
		return x.cmp(th, e.Attrs)
	case "range":
		return x.between(th, e.Attrs)
	case "bitwise":
		return x.bitwise(th, e.Attrs)
	case "byteorder":
		x.byteorder(th, e.Attrs)
	case "lookup", "dynset", "objref":
		return x.named(th, e)
	case "immediate":
		return x.immediate(th, e.Attrs)
	case "nat", "redir", "masq":
		x.nat(th, e)
	case "tproxy":
		x.tproxy(th, e.Attrs)
	case "reject", "queue", "fwd":
		x.out(th, ends, e.Name, "", false)
	case "notrack":
		x.untrack(th)
	case "counter", "log", "last", "dup", "secmark":
		x.stay(th)
	case "limit", "quota", "connlimit", "synproxy", "flow_offload":
		x.maybe(th, Some)
	case "numgen", "hash":
		x.drawn(th, e)
	case "socket":
		x.socket(th)
	case "exthdr", "rt", "osf", "xfrm", "tunnel", "inner":
		x.unread(th)
	case "match", "target":
		return x.extension(th, e)
	default:
		x.notKnown(th, e.Name)
	}
	return nil
}

// socket asks for the node's socket that a packet is for, and goes on with the next rule if
// there is none (nft_socket.c, xt_socket.c). Packets of a hostPort have none: who has one is a
// listener or a flow of the node's own, which conflict knows otherwise. What the node sends
// has the socket of its sender.
func (x *run) socket(th *thread) {
	if hook := x.p.Hook; hook == Prerouting || hook == Input {
		x.misses(th)
		return
	}
	x.unread(th)
}

// unread is an expression that loads something open into a register, or finds nothing to load.
func (x *run) unread(th *thread) {
	th.regs = forgotten()
	x.maybe(th, Some)
}

// notKnown is an expression that may do anything, or nothing.
func (x *run) notKnown(th *thread, name string) {
	x.anything(th, name)
	th.regs, th.open = forgotten(), Unknown
	x.stay(th)
}

// Keys of meta.
const (
	metaLen      = 0
	metaProtocol = 1
	metaPriority = 2
	metaMark     = 3
	metaIif      = 4
	metaOif      = 5
	metaIifName  = 6
	metaOifName  = 7
	metaIifType  = 8
	metaNfproto  = 15
	metaL4proto  = 16
	metaPktType  = 19
	metaIifGroup = 21
)

func (x *run) meta(th *thread, a nft.Attrs) {
	key, _ := a.Num(2)
	if sreg, set := a.Num(3); set {
		x.setMeta(th, key, sreg)
		return
	}
	dreg, _ := a.Num(1)
	switch {
	case key == metaLen:
		th.regs.load(dreg, ofNumber, 0, 4)
		x.bound(th, dreg, x.family(), everything, 4)
	case key == metaNfproto:
		th.regs.store(dreg, []byte{x.family()})
	case key == metaL4proto:
		th.regs.store(dreg, []byte{x.p.proto()})
	case key == metaProtocol && x.family() == nft.IPv4:
		th.regs.store(dreg, []byte{0x08, 0x00})
	case key == metaProtocol:
		th.regs.store(dreg, []byte{0x86, 0xdd})
	case key == metaMark:
		th.regs.loadMark(dreg, ofMark, th.b.mark)
	case key == metaPktType && x.arrives(th):
		x.expected(th, dreg, 0) // PACKET_HOST
		return
	case x.link(&th.regs, dreg, key), x.side(&th.regs, dreg, key):
	case (key == metaIifGroup || key == metaIifType) && x.p.Hook == Output: // nothing to load ends the rule
		x.misses(th)
		return
	case key == metaIifGroup && x.p.Hook != Postrouting:
		th.regs.load(dreg, ofInGroup, 0, 4)
	case key == metaIifType && x.p.Hook != Postrouting:
		th.regs.load(dreg, ofInType, 0, 2)
	case key == metaPriority:
		x.written(th, dreg, inPriority, 4)
	default:
		th.regs.load(dreg, ofAnything, 0, 16)
	}
	x.stay(th)
}

// setMeta sets something of the packet.
func (x *run) setMeta(th *thread, key, sreg uint32) {
	switch v, ok := bytesOf(th.regs.take(sreg, 1), 1); {
	case key == metaMark:
		th.b.mark, th.altered = newMark(th.b, th.regs.take(sreg, 4)), true
	case key == metaPriority:
		x.wrote(th, inPriority, 0, 4, th.regs.take(sreg, 4))
	case key == metaPktType && ok && v[0] != 0: // what is not for this host it does not forward (ip_forward)
		x.strand(th)
	}
	x.stay(th)
}

// link loads a link that is known beside the space of packets, and reports whether it is.
// Only newer kernels tell at postrouting where packets came in.
func (x *run) link(r *registers, dreg, key uint32) bool {
	in, out := key == metaIif || key == metaIifName, key == metaOif || key == metaOifName
	var l Link
	switch {
	case in && x.p.Hook == Postrouting:
	case in && x.p.Hook != Output && x.p.In.Name != "":
		l = x.p.In
	case out && x.p.leaves():
		l = x.p.Out
	default:
		return false
	}
	switch {
	case l.Name == "", l.Index == 0 && (key == metaIif || key == metaOif):
		r.load(dreg, ofAnything, 0, 16)
	case key == metaIif || key == metaOif:
		r.store(dreg, binary.NativeEndian.AppendUint32(nil, uint32(l.Index)))
	default:
		r.store(dreg, append([]byte(l.Name), make([]byte, 16-len(l.Name))...))
	}
	return true
}

// leaves reports whether the packets are on their way out, by another link than lo. What is translated at
// output is routed anew there, and that hook still has the link of before (nf_hook_state.out).
func (p Packet) leaves() bool {
	return p.Hook == Forward || p.Hook == Postrouting || p.Hook == Output && p.Answer
}

// maxDrawn is up to how many numbers each is followed.
const maxDrawn = 8

// drawn loads a number below a modulus, which is an attribute of both expressions, as is
// what is added to it. Some packets have each.
func (x *run) drawn(th *thread, e nft.Expr) {
	into, modulus, offset := uint16(1), uint16(2), uint16(4) // NFTA_NG_DREG, _MODULUS and _OFFSET
	if e.Name == "hash" {
		into, modulus, offset = 2, 4, 6 // NFTA_HASH_DREG, _MODULUS and _OFFSET
	}
	dreg, _ := e.Attrs.Num(into)
	n, _ := e.Attrs.Num(modulus)
	add, _ := e.Attrs.Num(offset)
	if n > 0 && n <= maxDrawn {
		for i := range n {
			one := *th
			one.regs.store(dreg, binary.NativeEndian.AppendUint32(nil, add+i))
			x.stay(&one)
		}
		return
	}
	th.regs.load(dreg, ofNumber, 0, 4)
	if i, ok := index(dreg); ok && add == 0 && n-1 < 1<<16 {
		th.regs[i].hi = uint16(n - 1)
	}
	x.stay(th)
}

func (x *run) family() uint8 {
	if x.r.is4 {
		return nft.IPv4
	}
	return nft.IPv6
}

// masks gives packets another source, and ends the walk of the base chain.
func (x *run) masks(th *thread, name string) {
	th.b.src, th.altered = addrset.All(x.r.is4), true
	x.out(th, ends, name, "", false)
}

// fib: the type of the destination is LOCAL; the rest is open.
func (x *run) fib(th *thread, a nft.Attrs) {
	const resultType, bySrc, byDst, byIn, byOut = 3, 1, 2, 8, 16
	dreg, _ := a.Num(1)
	result, _ := a.Num(2)
	flags, _ := a.Num(3)
	th.regs.load(dreg, ofAnything, 0, 16)
	switch {
	case result == resultType && (flags == byDst || flags == bySrc):
		x.addressType(&th.regs, dreg, flags == bySrc)
	case result == resultType && (flags&^(byIn|byOut) == byDst || flags&^(byIn|byOut) == bySrc):
		th.regs.load(dreg, ofLinkType, 0, 4)
	}
	x.stay(th)
}

// immediate loads a value or gives a verdict.
func (x *run) immediate(th *thread, a nft.Attrs) error {
	f := a.Fields()
	dreg, _ := f.Num(1)
	data, err := f.Nested(2)
	if err != nil {
		return err
	}
	if dreg != 0 {
		th.regs.store(dreg, nft.Value(data))
		x.stay(th)
		return nil
	}
	v, err := nft.DecodeVerdict(data)
	if err == nil {
		x.verdict(th, v)
	}
	return err
}

// nat translates. In an inet table a rule for one family passes the packets of
// the other, and one of a port alone is for both (nft_nat_inet_eval).
func (x *run) nat(th *thread, e nft.Expr) {
	const dnat = 1
	switch e.Name {
	case "redir":
		x.out(th, translates, "redirect", "", false)
		return
	case "masq":
		x.masks(th, e.Name)
		return
	}
	a := e.Attrs
	family, _ := a.Num(2)
	if x.r.table.Family == nft.Inet && uint8(family) != nft.Inet && uint8(family) != x.family() {
		x.stay(th)
		return
	}
	if typ, _ := a.Num(1); typ != dnat {
		x.masks(th, "snat")
		return
	}
	x.hop.To = natTarget(th, a, x.family())
	x.out(th, translates, "dnat", "", false)
}
