// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// Bits of invflags (IPT_INV_*, IP6T_INV_*) and of flags.
const (
	invIn    = 0x01
	invOut   = 0x02
	invSrc   = 0x08
	invDst   = 0x10
	invFrag  = 0x20
	invProto = 0x40

	fragment = 1 // IPT_F_FRAG
	hasProto = 1 // IP6T_F_PROTO
)

// ifNameSize is IFNAMSIZ.
const ifNameSize = 16

// headerSize is that of struct xt_entry_match and xt_entry_target: a size, a name of 29
// bytes, a revision.
const headerSize = 32

// An entry is one struct ipt_entry or ip6t_entry with its matches and its target.
type entry struct {
	layout layout
	b      []byte
	target int
	next   uint32 // where the next one is, in the table
}

// entry finds the entry at an offset, and checks that its parts are within it.
func (t *Table) entry(at uint32) (entry, error) {
	l := t.layout
	if at >= uint32(len(t.blob)) || len(t.blob)-int(at) < l.matches+headerSize {
		return entry{}, malformed("the entry at %d is cut off", at)
	}
	b := t.blob[at:]
	target, next := int(binary.NativeEndian.Uint16(b[l.target:])), int(binary.NativeEndian.Uint16(b[l.next:]))
	if target < l.matches || next < target+headerSize || next > len(b) {
		return entry{}, malformed("the entry at %d has its target at %d and ends at %d", at, target, next)
	}
	return entry{l, b[:next], target, at + uint32(next)}, nil
}

func (e entry) inverted(bit byte) bool { return e.b[e.layout.invert]&bit != 0 }

// extension reads the head of a match or target, and its information.
func extension(b []byte, ipv6 bool) (i xt.Info, size int, err error) {
	if len(b) < headerSize {
		return i, 0, malformed("a match or target is cut off")
	}
	if size = int(binary.NativeEndian.Uint16(b)); size < headerSize || size > len(b) {
		return i, 0, malformed("a match or target has %d bytes, and %d are left", size, len(b))
	}
	name, _, _ := bytes.Cut(b[2:31], []byte{0})
	return xt.Info{Name: string(name), Rev: uint32(b[31]), Data: b[headerSize:size], IPv6: ipv6}, size, nil
}

// header reports whether the entry begins a chain of a user, which it names. It is asked
// of every entry that there is.
func (e entry) header() (chain string, ok bool) {
	if !bytes.HasPrefix(e.b[e.target+2:], []byte("ERROR\x00")) {
		return "", false
	}
	i, _, err := extension(e.b[e.target:], e.layout.ipv6)
	if err != nil {
		return "", false
	}
	name, _, _ := bytes.Cut(i.Data, []byte{0})
	return string(name), true
}

// unconditional reads the verdict of the entry that ends a chain.
func (t *Table) unconditional(at uint32) (v nft.Verdict, err error) {
	e, err := t.entry(at)
	if err != nil {
		return v, err
	}
	i, _, err := extension(e.b[e.target:], e.layout.ipv6)
	if err != nil {
		return v, err
	}
	if ip := e.b[:e.layout.cache]; i.Name != "" || e.target != e.layout.matches || bytes.Count(ip, []byte{0}) != len(ip) {
		return v, malformed("the entry at %d is not the end of a chain", at)
	}
	v, _, err = t.verdict(e, i)
	return v, err
}

// exprs makes the expressions of an entry, in iptables-nft's order.
func (t *Table) exprs(e entry) ([]nft.Expr, error) {
	out := slices.Concat(e.link(false), e.link(true), e.protocol(), e.address(true), e.address(false))
	if !e.layout.ipv6 && e.b[e.layout.flags]&fragment != 0 {
		out = append(out, xt.Fragment(e.inverted(invFrag))...)
	}
	for b := e.b[e.layout.matches:e.target]; len(b) > 0; {
		i, n, err := extension(b, e.layout.ipv6)
		if err != nil {
			return nil, err
		}
		out, b = append(out, xt.MatchExpr(i)), b[n:]
	}
	count := e.b[e.layout.packets:]
	out = append(out, xt.Counter(binary.NativeEndian.Uint64(count), binary.NativeEndian.Uint64(count[8:])))
	i, _, err := extension(e.b[e.target:], e.layout.ipv6)
	if err != nil {
		return nil, err
	}
	if i.Name != "" {
		return append(out, xt.TargetExpr(i)), nil
	}
	v, on, err := t.verdict(e, i)
	if err != nil || on {
		return out, err
	}
	return append(out, v.Expr()), nil
}

// verdict reads the standard target. A verdict that is not negative is the offset of the
// entry to go on with; if that is the next one, nothing is done.
func (t *Table) verdict(e entry, i xt.Info) (v nft.Verdict, on bool, err error) {
	const ret = -5 // XT_RETURN, -NF_REPEAT - 1
	if len(i.Data) < 4 {
		return v, false, malformed("a verdict has %d bytes", len(i.Data))
	}
	n := int32(binary.NativeEndian.Uint32(i.Data))
	switch {
	case n == ret:
		return nft.Verdict{Code: nft.Return}, false, nil
	case n < 0:
		return nft.Verdict{Code: -(n + 1)}, false, nil
	case uint32(n) == e.next:
		return nft.Verdict{Code: nft.Continue}, true, nil
	}
	chain, ok := t.starts[uint32(n)]
	if !ok {
		return v, false, malformed("a jump leads to %d, where no chain begins", n)
	}
	v = nft.Verdict{Code: nft.Jump, Chain: chain}
	if e.b[e.layout.flags]&e.layout.jumps != 0 {
		v.Code = nft.Goto
	}
	return v, false, nil
}

// link is -i or -o. The mask says how much of the name counts: with its NUL it is one
// interface.
func (e entry) link(out bool) []nft.Expr {
	at, mask, inv := e.layout.in, e.layout.inMask, byte(invIn)
	if out {
		at, mask, inv = e.layout.out, e.layout.outMask, invOut
	}
	m := e.b[mask : mask+ifNameSize]
	n := len(bytes.TrimRight(m, "\x00"))
	if bytes.Count(m, []byte{255}) != n { // nobody makes such a mask, and no options say it
		return []nft.Expr{xt.MatchExpr(xt.Info{Name: "interface mask", Data: m})}
	}
	name, _, _ := bytes.Cut(e.b[at:at+ifNameSize], []byte{0})
	wild := n <= len(name)
	if wild {
		name = name[:n]
	}
	return xt.Interface(out, string(name), wild, e.inverted(inv))
}

// protocol is -p. The kernel compares a byte with 16 bits.
func (e entry) protocol() []nft.Expr {
	n, not := binary.NativeEndian.Uint16(e.b[e.layout.proto:]), e.inverted(invProto)
	switch {
	case n == 0, e.layout.ipv6 && e.b[e.layout.flags]&hasProto == 0, n > 255 && not:
		return nil
	case n > 255:
		return xt.Never()
	}
	return xt.Protocol(uint8(n), not)
}

// address is -s or -d. The kernel takes the mask of the packet's address only, so bits
// outside of it are never met.
func (e entry) address(src bool) []nft.Expr {
	l, at, mask, inv := e.layout, e.layout.dst, e.layout.dstMask, byte(invDst)
	if src {
		at, mask, inv = l.src, l.srcMask, invSrc
	}
	addr, _ := netip.AddrFromSlice(e.b[at : at+l.addr])
	m, _ := netip.AddrFromSlice(e.b[mask : mask+l.addr])
	for i, b := range addr.AsSlice() {
		switch outside := b&^e.b[mask+i] != 0; {
		case outside && e.inverted(inv):
			return nil
		case outside:
			return xt.Never()
		}
	}
	return xt.Address(src, addr, m, e.inverted(inv))
}
