// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// The expressions of our own rules; google/nftables cannot write some of them (ct with
// a direction and a family).

// reg is the n-th register of four bytes as the kernel prints it: NFT_REG_1 to 4
// have 16 bytes, NFT_REG32_00 is 8 (nft_dump_register).
func reg(n int) uint32 {
	if n%4 == 0 {
		return uint32(unix.NFT_REG_1 + n/4)
	}
	return uint32(unix.NFT_REG32_00 + n)
}

func meta(key uint32, to int) nft.Expr { return nft.Meta(key, reg(to)) }

func payload(base, off, n uint32, to int) nft.Expr { return nft.Payload(base, off, n, reg(to)) }

// equal and differs compare the first register.
func equal(b []byte) nft.Expr { return nft.Compare(b, false) }

func differs(b []byte) nft.Expr { return nft.Compare(b, true) }

// localDestination is "fib daddr type local".
func localDestination() []nft.Expr {
	fib := nft.Attrs{}.WithNum(unix.NFTA_FIB_DREG, reg(0)).WithNum(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE).WithNum(unix.NFTA_FIB_FLAGS, unix.NFTA_FIB_F_DADDR)
	return []nft.Expr{{Name: "fib", Attrs: fib}, equal(binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL))}
}

// midStream is "tcp flags & (fin | syn | rst | ack) != syn": whatever does not begin a
// connection.
func midStream() []nft.Expr {
	return append(only(hostport.TCP), payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1, 0), nft.And([]byte{0x17}), differs([]byte{0x02}))
}

// Of enum nft_socket_attributes and nft_socket_keys.
const (
	attrSocketKey  = 1
	attrSocketDreg = 2

	socketTransparent = 0
	socketWildcard    = 2 // since Linux 5.10
)

// socket compares what a key says of the socket that a packet is for. Without one the rule
// does not match. The kernel looks for it only where a packet comes in.
func socket(key uint32, is byte) []nft.Expr {
	return []nft.Expr{{Name: "socket", Attrs: nft.Attrs{}.WithNum(attrSocketKey, key).WithNum(attrSocketDreg, reg(0))}, equal([]byte{is})}
}

func ct(key uint32, to int) nft.Expr {
	return nft.Expr{Name: "ct", Attrs: nft.Attrs{}.WithNum(unix.NFTA_CT_DREG, reg(to)).WithNum(unix.NFTA_CT_KEY, key)}
}

// ctOriginal loads from the tuple of the connection's first packet.
func ctOriginal(key uint32, to int) nft.Expr {
	e := ct(key, to)
	e.Attrs = e.Attrs.With(unix.NFTA_CT_DIRECTION, []byte{0}) // IP_CT_DIR_ORIGINAL
	return e
}

// translated is "ct status dnat".
func translated() []nft.Expr {
	dnatBit := binary.NativeEndian.AppendUint32(nil, 0x20) // IPS_DST_NAT
	return []nft.Expr{ct(unix.NFT_CT_STATUS, 0), nft.And(dnatBit), differs(make([]byte, 4))}
}

// inSet looks registers from the first on up in a set.
func inSet(name string) nft.Expr {
	return nft.Expr{Name: "lookup", Attrs: nft.Attrs{}.WithText(unix.NFTA_LOOKUP_SET, name).WithNum(unix.NFTA_LOOKUP_SREG, reg(0))}
}

// notIn is inSet for what is not there.
func notIn(name string) nft.Expr {
	e := inSet(name)
	e.Attrs = e.Attrs.WithNum(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV)
	return e
}

// fromMap looks them up in a map and loads what it has to a register. To that of the
// verdict it follows one.
func fromMap(name string, to uint32) nft.Expr {
	e := inSet(name)
	e.Attrs = e.Attrs.WithNum(unix.NFTA_LOOKUP_DREG, to)
	return e
}

// dnat translates to the address in the first register and the port behind it.
func (f familyInfo) dnat() nft.Expr {
	return nft.Expr{Name: "nat", Attrs: nft.Attrs{}.WithNum(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT).WithNum(unix.NFTA_NAT_FAMILY, uint32(f.family.NFProto())).
		WithNum(unix.NFTA_NAT_REG_ADDR_MIN, reg(0)).WithNum(unix.NFTA_NAT_REG_PROTO_MIN, reg(f.words))}
}

func masquerade() nft.Expr { return nft.Expr{Name: "masq"} }

// verdict ends a rule; chain is for jump and goto.
func verdict(code int32, chain string) nft.Expr { return nft.Verdict{Code: code, Chain: chain}.Expr() }

func (f familyInfo) addrLen() uint32 { return uint32(4 * f.words) }

// only is "meta nfproto".
func (f familyInfo) only() []nft.Expr {
	return []nft.Expr{meta(unix.NFT_META_NFPROTO, 0), equal([]byte{f.family.NFProto()})}
}

// only is "meta l4proto": without it nft cannot read "ct original proto-dst",
// and what it prints must load again.
func only(p hostport.Proto) []nft.Expr {
	return []nft.Expr{meta(unix.NFT_META_L4PROTO, 0), equal([]byte{byte(p)})}
}

// to and from ask for an address in a network, notTo for one of the family outside.
func (f familyInfo) to(network string) []nft.Expr { return f.within(f.dst, network, equal) }

func (f familyInfo) notTo(network string) []nft.Expr { return f.within(f.dst, network, differs) }

func (f familyInfo) from(network string) []nft.Expr { return f.within(f.src, network, equal) }

func (f familyInfo) within(off uint32, network string, compare func([]byte) nft.Expr) []nft.Expr {
	p := netip.MustParsePrefix(network)
	addr, n := p.Addr().AsSlice(), p.Bits()
	if n%8 == 0 { // nft loads only the bytes that count
		return append(f.only(), payload(unix.NFT_PAYLOAD_NETWORK_HEADER, off, uint32(n/8), 0), compare(addr[:n/8]))
	}
	mask := make([]byte, len(addr))
	for i := range n {
		mask[i/8] |= 1 << (7 - i%8)
	}
	return append(f.only(), payload(unix.NFT_PAYLOAD_NETWORK_HEADER, off, f.addrLen(), 0), nft.And(mask), compare(addr))
}

// protoAndPort loads "meta l4proto . th dport" from register at on.
func protoAndPort(at int) []nft.Expr {
	return []nft.Expr{meta(unix.NFT_META_L4PROTO, at), payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, at+1)}
}

// dstAndPort loads "FAMILY daddr . meta l4proto . th dport".
func (f familyInfo) dstAndPort() []nft.Expr {
	return slices.Concat(f.only(), []nft.Expr{payload(unix.NFT_PAYLOAD_NETWORK_HEADER, f.dst, f.addrLen(), 0)}, protoAndPort(f.words))
}
