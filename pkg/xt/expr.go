// SPDX-License-Identifier: Apache-2.0

package xt

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// The expressions that iptables-nft makes of what is no match of its own. Whoever has
// rules of xtables in another form writes them with these.

// reg is the register that iptables-nft loads into.
const reg = unix.NFT_REG_1

// bitwiseOp is NFTA_BITWISE_OP; 0 is NFT_BITWISE_BOOL.
const bitwiseOp = 6

// Address is -s or -d. A mask of whole bytes is a comparison of that many bytes, as
// iptables-nft writes it since 1.8.6.
func Address(src bool, addr, mask netip.Addr, not bool) []nft.Expr {
	offset := map[bool]uint32{true: 12, false: 16}[src]
	if addr.Is6() {
		offset = map[bool]uint32{true: 8, false: 24}[src]
	}
	a, m := masked(addr, mask), mask.AsSlice()
	if len(bytes.Trim(m, "\x00")) == 0 {
		if not {
			return Never()
		}
		return nil
	}
	n := len(bytes.TrimRight(m, "\x00"))
	if bytes.Count(m, []byte{255}) == n {
		return []nft.Expr{Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, n), Compare(a[:n], not)}
	}
	return []nft.Expr{Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, len(m)), And(m), Compare(a, not)}
}

func masked(addr, mask netip.Addr) []byte {
	a := addr.AsSlice()
	for i, m := range mask.AsSlice() {
		a[i] &= m
	}
	return a
}

// Interface is -i or -o with the name of one interface, or with wild the beginning of
// the names of several.
func Interface(out bool, name string, wild, not bool) []nft.Expr {
	key := uint32(unix.NFT_META_IIFNAME)
	if out {
		key = unix.NFT_META_OIFNAME
	}
	switch {
	case wild && name == "" && not:
		return Never()
	case wild && name == "":
		return nil
	case !wild:
		name += "\x00"
	}
	return []nft.Expr{Meta(key), Compare([]byte(name), not)}
}

// Protocol is -p.
func Protocol(number uint8, not bool) []nft.Expr {
	return []nft.Expr{Meta(unix.NFT_META_L4PROTO), Compare([]byte{number}, not)}
}

// Fragment is -f, which only IPv4 has: fragments but the first.
func Fragment(not bool) []nft.Expr {
	return []nft.Expr{Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 6, 2), And([]byte{0x1f, 0xff}), Compare([]byte{0, 0}, !not)}
}

// Never is a condition that no packet meets, such as "! -d 0.0.0.0/0".
func Never() []nft.Expr {
	return []nft.Expr{Meta(unix.NFT_META_NFPROTO), Compare([]byte{unix.NFPROTO_UNSPEC}, false)}
}

// Meta loads a property of the packet.
func Meta(key uint32) nft.Expr {
	return expr("meta", number(unix.NFTA_META_KEY, key), number(unix.NFTA_META_DREG, reg))
}

// Payload loads bytes of a header.
func Payload(base, offset uint32, n int) nft.Expr {
	return expr("payload", number(unix.NFTA_PAYLOAD_DREG, reg), number(unix.NFTA_PAYLOAD_BASE, base),
		number(unix.NFTA_PAYLOAD_OFFSET, offset), number(unix.NFTA_PAYLOAD_LEN, uint32(n)))
}

// And keeps the bits of what was loaded that are in mask.
func And(mask []byte) nft.Expr {
	return expr("bitwise", number(unix.NFTA_BITWISE_SREG, reg), number(unix.NFTA_BITWISE_DREG, reg), number(unix.NFTA_BITWISE_LEN, uint32(len(mask))),
		number(bitwiseOp, 0), value(unix.NFTA_BITWISE_MASK, mask), value(unix.NFTA_BITWISE_XOR, make([]byte, len(mask))))
}

// Compare compares what was loaded, for equality or not.
func Compare(with []byte, not bool) nft.Expr {
	op := uint32(unix.NFT_CMP_EQ)
	if not {
		op = unix.NFT_CMP_NEQ
	}
	return expr("cmp", number(unix.NFTA_CMP_SREG, reg), number(unix.NFTA_CMP_OP, op), value(unix.NFTA_CMP_DATA, with))
}

// Counter is what a rule has counted.
func Counter(packets, octets uint64) nft.Expr {
	return expr("counter", attr{unix.NFTA_COUNTER_BYTES, binary.BigEndian.AppendUint64(nil, octets)},
		attr{unix.NFTA_COUNTER_PACKETS, binary.BigEndian.AppendUint64(nil, packets)})
}

// Verdict is -j ACCEPT and the like, -j CHAIN or -g CHAIN.
func Verdict(v nft.Verdict) nft.Expr {
	return expr("immediate", number(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT), attr{unix.NFTA_IMMEDIATE_DATA | unix.NLA_F_NESTED, v.Data()})
}

// MatchExpr is the expression of a match, TargetExpr that of a target.
func MatchExpr(i Info) nft.Expr { return i.expr("match") }

// TargetExpr is the expression of a target.
func TargetExpr(i Info) nft.Expr { return i.expr("target") }

// Attributes of targets have the numbers of those of matches.
func (i Info) expr(kind string) nft.Expr {
	return expr(kind, attr{unix.NFTA_MATCH_NAME, append([]byte(i.Name), 0)}, number(unix.NFTA_MATCH_REV, i.Rev), attr{unix.NFTA_MATCH_INFO, i.Data})
}

// InfoOf reads the attributes of a "match" or "target" expression.
func InfoOf(e nft.Expr, ipv6 bool) Info {
	rev, _ := e.Attrs.Num(unix.NFTA_MATCH_REV)
	data, _ := e.Attrs.Get(unix.NFTA_MATCH_INFO)
	return Info{Name: e.Attrs.Text(unix.NFTA_MATCH_NAME), Rev: rev, Data: data, IPv6: ipv6}
}

type attr struct {
	typ  uint16
	data []byte
}

func number(typ uint16, n uint32) attr { return attr{typ, binary.BigEndian.AppendUint32(nil, n)} }

func value(typ uint16, b []byte) attr {
	return attr{typ | unix.NLA_F_NESTED, nft.Attrs{}.With(unix.NFTA_DATA_VALUE, b)}
}

func expr(name string, attrs ...attr) nft.Expr {
	e := nft.Expr{Name: name, Attrs: nft.Attrs{}}
	for _, a := range attrs {
		e.Attrs = e.Attrs.With(a.typ, a.data)
	}
	return e
}
