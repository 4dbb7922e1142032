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
		return []nft.Expr{nft.Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, uint32(n), reg), nft.Compare(a[:n], not)}
	}
	return []nft.Expr{nft.Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, uint32(len(m)), reg), nft.And(m), nft.Compare(a, not)}
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
	return []nft.Expr{nft.Meta(key, reg), nft.Compare([]byte(name), not)}
}

// Protocol is -p.
func Protocol(number uint8, not bool) []nft.Expr {
	return []nft.Expr{nft.Meta(unix.NFT_META_L4PROTO, reg), nft.Compare([]byte{number}, not)}
}

// Fragment is -f, which only IPv4 has: fragments but the first.
func Fragment(not bool) []nft.Expr {
	return []nft.Expr{nft.Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 6, 2, reg), nft.And([]byte{0x1f, 0xff}), nft.Compare([]byte{0, 0}, !not)}
}

// Never is a condition that no packet meets, such as "! -d 0.0.0.0/0".
func Never() []nft.Expr {
	return []nft.Expr{nft.Meta(unix.NFT_META_NFPROTO, reg), nft.Compare([]byte{unix.NFPROTO_UNSPEC}, false)}
}

// Counter is what a rule has counted.
func Counter(packets, octets uint64) nft.Expr {
	return nft.Expr{Name: "counter", Attrs: nft.Attrs{}.With(unix.NFTA_COUNTER_BYTES, binary.BigEndian.AppendUint64(nil, octets)).
		With(unix.NFTA_COUNTER_PACKETS, binary.BigEndian.AppendUint64(nil, packets))}
}

// MatchExpr is the expression of a match, TargetExpr that of a target.
func MatchExpr(i Info) nft.Expr { return i.expr("match") }

// TargetExpr is the expression of a target.
func TargetExpr(i Info) nft.Expr { return i.expr("target") }

// Attributes of targets have the numbers of those of matches.
func (i Info) expr(kind string) nft.Expr {
	return nft.Expr{Name: kind, Attrs: nft.Attrs{}.WithText(unix.NFTA_MATCH_NAME, i.Name).WithNum(unix.NFTA_MATCH_REV, i.Rev).With(unix.NFTA_MATCH_INFO, i.Data)}
}

// InfoOf reads the attributes of a "match" or "target" expression.
func InfoOf(e nft.Expr, ipv6 bool) Info {
	rev, _ := e.Attrs.Num(unix.NFTA_MATCH_REV)
	data, _ := e.Attrs.Get(unix.NFTA_MATCH_INFO)
	return Info{Name: e.Attrs.Text(unix.NFTA_MATCH_NAME), Rev: rev, Data: data, IPv6: ipv6}
}
