// SPDX-License-Identifier: Apache-2.0

package xt

import "encoding/binary"

// What bytes are counted from that are in no header: the priority of packets, and the labels of their
// connection.
const (
	InPriority = 16
	InLabels   = 17
)

// Bits are those of a header that a match asks for, or a target writes: of N bytes from At on, where
// the new ones are old &^ Mask ^ Value. The first byte is the highest one. Base is that of payload
// (1 is the header of the network), InPriority or InLabels.
type Bits struct {
	Base, At, N uint32
	Mask, Value uint32
	// Op is how the match compares (NFT_CMP_EQ, NFT_CMP_NEQ).
	Op     uint32
	Writes bool
}

// DecodeBits reads the matches and targets for the type of service (struct xt_dscp_info,
// xt_DSCP_info, xt_tos_match_info, xt_tos_target_info), the targets that set how far packets may go
// (ipt_TTL_info, ip6t_HL_info; Span reads the matches), the match connlabel, which may set a label,
// and the target CLASSIFY. IPv6 has the type of service in the middle of two bytes.
func DecodeBits(i Info) (b Bits, ok bool) {
	if len(i.Data) < 4 {
		return b, false
	}
	first, second := uint32(i.Data[0]), uint32(i.Data[1])
	b = Bits{Base: 1, At: 1, N: 1, Mask: 255 << 24, Value: second << 24, Writes: i.Name < "a"}
	switch i.Name {
	case "connlabel":
		const not, sets = 1, 2
		bit, options := uint32(i.u16(0)), i.u16(2)
		mask := uint32(1) << (24 + bit%8)
		b = Bits{Base: InLabels, At: bit / 8, N: 1, Mask: mask, Value: mask, Op: uint32(options & not), Writes: options&sets != 0}
		return b, !b.Writes || b.Op == 0
	case "CLASSIFY":
		return Bits{Base: InPriority, N: 4, Mask: ^uint32(0), Value: binary.BigEndian.Uint32(i.Data), Writes: true}, true
	case "TTL", "HL":
		if b.At = 8; i.IPv6 {
			b.At = 7
		}
		return b, first == 0
	case "DSCP", "dscp":
		b.Mask, b.Value, b.Op = 0xfc<<24, first<<26, second
	case "TOS":
		b.Mask, b.Value = second<<24, first<<24
	case "tos":
		b.Mask, b.Op = first<<24, uint32(i.Data[2])
	default:
		return b, false
	}
	if i.IPv6 {
		b.At, b.N, b.Mask, b.Value = 0, 2, b.Mask>>4, b.Value>>4
	}
	return b, true
}
