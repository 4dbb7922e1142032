// SPDX-License-Identifier: Apache-2.0

package nft

import "golang.org/x/sys/unix"

// The expressions that both nft and iptables-nft make, with the attributes in the order in
// which the kernel has them.

// Meta loads a property of the packet to a register.
func Meta(key, to uint32) Expr {
	return Expr{"meta", Attrs{}.WithNum(unix.NFTA_META_KEY, key).WithNum(unix.NFTA_META_DREG, to)}
}

// Payload loads bytes of a header to a register.
func Payload(base, offset, n, to uint32) Expr {
	return Expr{"payload", Attrs{}.WithNum(unix.NFTA_PAYLOAD_DREG, to).WithNum(unix.NFTA_PAYLOAD_BASE, base).
		WithNum(unix.NFTA_PAYLOAD_OFFSET, offset).WithNum(unix.NFTA_PAYLOAD_LEN, n)}
}

// And keeps the bits of the first register that are in mask.
func And(mask []byte) Expr {
	const op = 6 // NFTA_BITWISE_OP; 0 is NFT_BITWISE_BOOL
	return Expr{"bitwise", Attrs{}.WithNum(unix.NFTA_BITWISE_SREG, unix.NFT_REG_1).WithNum(unix.NFTA_BITWISE_DREG, unix.NFT_REG_1).
		WithNum(unix.NFTA_BITWISE_LEN, uint32(len(mask))).WithNum(op, 0).
		Nest(unix.NFTA_BITWISE_MASK, data(mask)).Nest(unix.NFTA_BITWISE_XOR, data(make([]byte, len(mask))))}
}

// Compare compares the first register, for equality or not.
func Compare(with []byte, not bool) Expr {
	op := uint32(unix.NFT_CMP_EQ)
	if not {
		op = unix.NFT_CMP_NEQ
	}
	return Expr{"cmp", Attrs{}.WithNum(unix.NFTA_CMP_SREG, unix.NFT_REG_1).WithNum(unix.NFTA_CMP_OP, op).Nest(unix.NFTA_CMP_DATA, data(with))}
}

// Expr is the expression that has v.
func (v Verdict) Expr() Expr {
	return Expr{"immediate", Attrs{}.WithNum(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT).Nest(unix.NFTA_IMMEDIATE_DATA, v.data())}
}

// data is a value in NFTA_DATA attributes.
func data(b []byte) Attrs { return Attrs{}.With(unix.NFTA_DATA_VALUE, b) }
