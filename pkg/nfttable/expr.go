// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// The expressions of our own rules. Numbers are those of the kernel's
// include/uapi/linux/netfilter/nf_tables.h; google/nftables cannot write some of
// them (ct with a direction and a family).

// reg is the n-th register of four bytes as the kernel prints it: NFT_REG_1 to 4
// have 16 bytes, NFT_REG32_00 is 8 (nft_dump_register).
func reg(n int) uint32 {
	if n%4 == 0 {
		return uint32(1 + n/4)
	}
	return uint32(8 + n)
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

const nested = 0x8000 // NLA_F_NESTED

func data(b []byte) nft.Attrs { return nft.Attrs{}.With(1, b) }

const (
	metaOifname = 7
	metaIifname = 6
	metaNfproto = 15
	metaL4proto = 16
)

func meta(key uint32, to int) nft.Expr { return numbers("meta", 1, reg(to), 2, key) }

// equal and differs compare the first register.
func equal(b []byte) nft.Expr { return compare(0, b) }

func differs(b []byte) nft.Expr { return compare(1, b) }

func compare(op uint32, b []byte) nft.Expr {
	e := numbers("cmp", 1, reg(0), 2, op)
	e.Attrs = e.Attrs.With(3|nested, data(b))
	return e
}

// masked is the first register & mask.
func masked(mask []byte) nft.Expr {
	e := numbers("bitwise", 1, reg(0), 2, reg(0), 3, uint32(len(mask)))
	return nft.Expr{Name: e.Name, Attrs: e.Attrs.With(4|nested, data(mask)).With(5|nested, data(make([]byte, len(mask))))}
}

const networkHeader, transportHeader = 1, 2

func payload(base, off, n uint32, to int) nft.Expr {
	return numbers("payload", 1, reg(to), 2, base, 3, off, 4, n)
}

// localDestination is "fib daddr type local".
func localDestination() []nft.Expr {
	const addrType, byDestination, local = 3, 2, 2
	return []nft.Expr{numbers("fib", 1, reg(0), 2, addrType, 3, byDestination),
		equal(binary.NativeEndian.AppendUint32(nil, local))}
}

const (
	ctStatus   = 2
	ctProtoDst = 12
	ctDstIP    = 20
	ctDstIP6   = 22
)

func ct(key uint32, to int) nft.Expr { return numbers("ct", 1, reg(to), 2, key) }

// ctOriginal loads from the tuple of the connection's first packet.
func ctOriginal(key uint32, to int) nft.Expr {
	e := ct(key, to)
	e.Attrs = e.Attrs.With(3, []byte{0}) // IP_CT_DIR_ORIGINAL
	return e
}

// inSet looks registers from the first on up in a set.
func inSet(name string) nft.Expr {
	return nft.Expr{Name: "lookup", Attrs: nft.Attrs{}.With(1, append([]byte(name), 0)).With(2, num(reg(0)))}
}

// fromMap looks them up in a map and loads what it has to the first register, or
// follows its verdict.
func fromMap(name string, verdict bool) nft.Expr {
	e := inSet(name)
	to := reg(0)
	if verdict {
		to = 0
	}
	e.Attrs = e.Attrs.With(3, num(to))
	return e
}

// dnat translates to the address in the first register and the port behind it.
func dnat(f familyInfo) nft.Expr {
	const dnatType = 1
	return numbers("nat", 1, dnatType, 2, uint32(f.table), 3, reg(0), 5, reg(f.words))
}

func masquerade() nft.Expr { return nft.Expr{Name: "masq"} }

// verdict ends a rule; chain is for jump and goto.
func verdict(code int32, chain string) nft.Expr {
	v := nft.Attrs{}.With(1, num(uint32(code)))
	if chain != "" {
		v = v.With(2, append([]byte(chain), 0))
	}
	e := numbers("immediate", 1, 0)
	e.Attrs = e.Attrs.With(2|nested, nft.Attrs{}.With(2|nested, v))
	return e
}

func (f familyInfo) addrLen() uint32 { return uint32(4 * f.words) }

// only is "meta nfproto".
func (f familyInfo) only() []nft.Expr {
	return []nft.Expr{meta(metaNfproto, 0), equal([]byte{f.table})}
}

// only is "meta l4proto": without it nft cannot read "ct original proto-dst",
// and what it prints must load again.
func only(p hostport.Proto) []nft.Expr {
	return []nft.Expr{meta(metaL4proto, 0), equal([]byte{byte(p)})}
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
		return append(out, payload(networkHeader, off, f.addrLen(), 0), compare(full))
	case n%8 == 0: // nft loads only the bytes that count
		return append(out, payload(networkHeader, off, uint32(n/8), 0), compare(full[:n/8]))
	default:
		mask := make([]byte, len(full))
		for i := range n {
			mask[i/8] |= 1 << (7 - i%8)
		}
		return append(out, payload(networkHeader, off, f.addrLen(), 0), masked(mask), compare(full))
	}
}

// protoAndPort loads "meta l4proto . th dport" from register at on.
func protoAndPort(at int) []nft.Expr {
	return []nft.Expr{meta(metaL4proto, at), payload(transportHeader, 2, 2, at+1)}
}

// dstAndPort loads "FAMILY daddr . meta l4proto . th dport".
func (f familyInfo) dstAndPort() []nft.Expr {
	return slices.Concat(f.only(), []nft.Expr{payload(networkHeader, f.dst, f.addrLen(), 0)}, protoAndPort(f.words))
}
