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

func num(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// numbers makes an expression of attributes with a number each, in order.
func numbers(name string, typeAndNumber ...uint32) nft.Expr {
	e := nft.Expr{Name: name, Attrs: nft.Attrs{}}
	for i := 0; i+1 < len(typeAndNumber); i += 2 {
		e.Attrs = e.Attrs.With(uint16(typeAndNumber[i]), num(typeAndNumber[i+1]))
	}
	return e
}

// nested marks an attribute that holds others.
func nested(typ uint16) uint16 { return typ | unix.NLA_F_NESTED }

func data(b []byte) nft.Attrs { return nft.Attrs{}.With(unix.NFTA_DATA_VALUE, b) }

func meta(key uint32, to int) nft.Expr {
	return numbers("meta", unix.NFTA_META_DREG, reg(to), unix.NFTA_META_KEY, key)
}

// equal and differs compare the first register.
func equal(b []byte) nft.Expr { return compare(unix.NFT_CMP_EQ, b) }

func differs(b []byte) nft.Expr { return compare(unix.NFT_CMP_NEQ, b) }

func compare(op uint32, b []byte) nft.Expr {
	e := numbers("cmp", unix.NFTA_CMP_SREG, reg(0), unix.NFTA_CMP_OP, op)
	e.Attrs = e.Attrs.With(nested(unix.NFTA_CMP_DATA), data(b))
	return e
}

// masked is the first register & mask.
func masked(mask []byte) nft.Expr {
	e := numbers("bitwise", unix.NFTA_BITWISE_SREG, reg(0), unix.NFTA_BITWISE_DREG, reg(0), unix.NFTA_BITWISE_LEN, uint32(len(mask)))
	e.Attrs = e.Attrs.With(nested(unix.NFTA_BITWISE_MASK), data(mask)).With(nested(unix.NFTA_BITWISE_XOR), data(make([]byte, len(mask))))
	return e
}

func payload(base, off, n uint32, to int) nft.Expr {
	return numbers("payload", unix.NFTA_PAYLOAD_DREG, reg(to), unix.NFTA_PAYLOAD_BASE, base, unix.NFTA_PAYLOAD_OFFSET, off, unix.NFTA_PAYLOAD_LEN, n)
}

// localDestination is "fib daddr type local".
func localDestination() []nft.Expr {
	return []nft.Expr{numbers("fib", unix.NFTA_FIB_DREG, reg(0), unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE, unix.NFTA_FIB_FLAGS, unix.NFTA_FIB_F_DADDR),
		equal(binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL))}
}

func ct(key uint32, to int) nft.Expr {
	return numbers("ct", unix.NFTA_CT_DREG, reg(to), unix.NFTA_CT_KEY, key)
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
	return []nft.Expr{ct(unix.NFT_CT_STATUS, 0), masked(dnatBit), differs(make([]byte, 4))}
}

// inSet looks registers from the first on up in a set.
func inSet(name string) nft.Expr {
	return nft.Expr{Name: "lookup", Attrs: nft.Attrs{}.With(unix.NFTA_LOOKUP_SET, append([]byte(name), 0)).With(unix.NFTA_LOOKUP_SREG, num(reg(0)))}
}

// fromMap looks them up in a map and loads what it has to the first register, or
// follows its verdict.
func fromMap(name string, verdict bool) nft.Expr {
	e := inSet(name)
	to := reg(0)
	if verdict {
		to = unix.NFT_REG_VERDICT
	}
	e.Attrs = e.Attrs.With(unix.NFTA_LOOKUP_DREG, num(to))
	return e
}

// dnat translates to the address in the first register and the port behind it.
func (f familyInfo) dnat() nft.Expr {
	return numbers("nat", unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT, unix.NFTA_NAT_FAMILY, uint32(f.table),
		unix.NFTA_NAT_REG_ADDR_MIN, reg(0), unix.NFTA_NAT_REG_PROTO_MIN, reg(f.words))
}

func masquerade() nft.Expr { return nft.Expr{Name: "masq"} }

// verdict ends a rule; chain is for jump and goto.
func verdict(code int32, chain string) nft.Expr {
	v := nft.Attrs{}.With(unix.NFTA_VERDICT_CODE, num(uint32(code)))
	if chain != "" {
		v = v.With(unix.NFTA_VERDICT_CHAIN, append([]byte(chain), 0))
	}
	e := numbers("immediate", unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
	e.Attrs = e.Attrs.With(nested(unix.NFTA_IMMEDIATE_DATA), nft.Attrs{}.With(nested(unix.NFTA_DATA_VERDICT), v))
	return e
}

func (f familyInfo) addrLen() uint32 { return uint32(4 * f.words) }

// only is "meta nfproto".
func (f familyInfo) only() []nft.Expr {
	return []nft.Expr{meta(unix.NFT_META_NFPROTO, 0), equal([]byte{f.table})}
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
	out := f.only()
	full := p.Addr().AsSlice()
	switch n := p.Bits(); {
	case n == 0:
		return out
	case n == p.Addr().BitLen():
		return append(out, payload(unix.NFT_PAYLOAD_NETWORK_HEADER, off, f.addrLen(), 0), compare(full))
	case n%8 == 0: // nft loads only the bytes that count
		return append(out, payload(unix.NFT_PAYLOAD_NETWORK_HEADER, off, uint32(n/8), 0), compare(full[:n/8]))
	default:
		mask := make([]byte, len(full))
		for i := range n {
			mask[i/8] |= 1 << (7 - i%8)
		}
		return append(out, payload(unix.NFT_PAYLOAD_NETWORK_HEADER, off, f.addrLen(), 0), masked(mask), compare(full))
	}
}

// protoAndPort loads "meta l4proto . th dport" from register at on.
func protoAndPort(at int) []nft.Expr {
	return []nft.Expr{meta(unix.NFT_META_L4PROTO, at), payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, at+1)}
}

// dstAndPort loads "FAMILY daddr . meta l4proto . th dport".
func (f familyInfo) dstAndPort() []nft.Expr {
	return slices.Concat(f.only(), []nft.Expr{payload(unix.NFT_PAYLOAD_NETWORK_HEADER, f.dst, f.addrLen(), 0)}, protoAndPort(f.words))
}
