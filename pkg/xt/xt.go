// SPDX-License-Identifier: Apache-2.0

// Package xt translates rules of xtables as the kernel has them in nf_tables into the
// words of iptables-save. It knows the matches that say which port, address or mark a
// rule is about; of the others it says so. For rules of iptables-legacy it writes the
// expressions that iptables-nft would make of them, so that both come in one form.
//
// Numbers are in the machine's order unless said otherwise. The structures are
// those of the kernel's include/uapi/linux/netfilter/xt_*.h.
package xt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/iptsave"
)

// An Info is one match or target as the kernel has it.
type Info struct {
	Name string
	Rev  uint32
	// Data is padded to eight bytes.
	Data []byte
	// IPv6 tells how to read addresses.
	IPv6 bool
}

// Match returns the options of a match, without its "-m NAME". Ok is false for
// one that is not known, in this revision, or has another size.
func Match(i Info) (opts []iptsave.Option, ok bool) {
	decode := matchDecoder(i.Name, i.Rev)
	if decode == nil {
		return nil, false
	}
	opts, ok = decode(i)
	for n := range opts {
		opts[n].Module = i.Name
	}
	return opts, ok
}

func matchDecoder(name string, rev uint32) func(Info) ([]iptsave.Option, bool) {
	switch {
	case name == "comment" && rev == 0:
		return comment
	case name == "multiport" && rev == 1:
		return multiport
	case name == "addrtype" && rev == 1:
		return addrtype
	case (name == "mark" || name == "connmark") && rev == 1:
		return markMatch
	case name == "devgroup" && rev == 0:
		return devgroup
	case name == "conntrack" && rev == 3:
		return conntrack
	case name == "iprange" && rev == 1:
		return iprange
	case name == "tcp" && rev == 0:
		return tcp
	case name == "udp" && rev == 0:
		return udp
	case name == "sctp" && rev == 0:
		return sctp
	case name == "socket" && rev >= 1 && rev <= 3:
		return socket
	case name == "set" && rev >= 1 && rev <= 4:
		return set
	}
	return nil
}

// size reports whether the data holds n bytes and padding only.
func (i Info) size(n int) bool { return len(i.Data) >= n && len(i.Data) < n+8 }

func (i Info) u16(at int) uint16 { return binary.NativeEndian.Uint16(i.Data[at:]) }

func (i Info) u32(at int) uint32 { return binary.NativeEndian.Uint32(i.Data[at:]) }

// addr reads a union nf_inet_addr.
func (i Info) addr(at int) netip.Addr {
	n := 4
	if i.IPv6 {
		n = 16
	}
	a, _ := netip.AddrFromSlice(i.Data[at : at+n])
	return a
}

func option(not bool, name string, values ...string) iptsave.Option {
	return iptsave.Option{Not: not, Name: name, Values: values}
}

func comment(i Info) ([]iptsave.Option, bool) {
	text, _, _ := bytes.Cut(i.Data, []byte{0})
	return []iptsave.Option{option(false, "--comment", string(text))}, true
}

// multiport reads struct xt_multiport_v1: flags, count, 15 ports, 15 flags that
// say whether a port begins a range, inversion.
func multiport(i Info) ([]iptsave.Option, bool) {
	const maxPorts = 15
	if !i.size(2 + 2*maxPorts + maxPorts + 1) {
		return nil, false
	}
	name, ok := map[byte]string{0: "--sports", 1: "--dports", 2: "--ports"}[i.Data[0]]
	n := int(i.Data[1])
	if !ok || n > maxPorts {
		return nil, false
	}
	var list strings.Builder
	for k := range n {
		if k > 0 {
			sep := ","
			if i.Data[2+2*maxPorts+k-1] != 0 {
				sep = ":"
			}
			list.WriteString(sep)
		}
		list.WriteString(strconv.Itoa(int(i.u16(2 + 2*k))))
	}
	return []iptsave.Option{option(i.Data[2+3*maxPorts] != 0, name, list.String())}, true
}

// addrtype reads struct xt_addrtype_info_v1.
func addrtype(i Info) ([]iptsave.Option, bool) {
	const notSource, notDest, limitIn, limitOut = 1, 2, 4, 8
	if !i.size(8) {
		return nil, false
	}
	flags := i.u32(4)
	var out []iptsave.Option
	if t := i.u16(0); t != 0 {
		out = append(out, option(flags&notSource != 0, "--src-type", types(t)))
	}
	if t := i.u16(2); t != 0 {
		out = append(out, option(flags&notDest != 0, "--dst-type", types(t)))
	}
	if flags&limitIn != 0 {
		out = append(out, option(false, "--limit-iface-in"))
	}
	if flags&limitOut != 0 {
		out = append(out, option(false, "--limit-iface-out"))
	}
	return out, true
}

func types(mask uint16) string {
	var out []string
	for n, name := range []string{"UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST",
		"BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE"} {
		if mask&(1<<n) != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}

// markMatch reads struct xt_mark_mtinfo1, and xt_connmark_mtinfo1, which is the same.
func markMatch(i Info) ([]iptsave.Option, bool) {
	if !i.size(9) {
		return nil, false
	}
	return []iptsave.Option{option(i.Data[8] != 0, "--mark", fmt.Sprintf("0x%x/0x%x", i.u32(0), i.u32(4)))}, true
}

// devgroup reads struct xt_devgroup_info: flags, and group and mask of the link that packets
// come by and of the one that they leave by.
func devgroup(i Info) (opts []iptsave.Option, ok bool) {
	const src, notSrc, dst, notDst = 1, 2, 4, 8
	if !i.size(20) {
		return nil, false
	}
	flags := i.u32(0)
	group := func(at int) string {
		if i.u32(at+4) == ^uint32(0) {
			return fmt.Sprintf("0x%x", i.u32(at))
		}
		return fmt.Sprintf("0x%x/0x%x", i.u32(at), i.u32(at+4))
	}
	if flags&src != 0 {
		opts = append(opts, option(flags&notSrc != 0, "--src-group", group(4)))
	}
	if flags&dst != 0 {
		opts = append(opts, option(flags&notDst != 0, "--dst-group", group(12)))
	}
	return opts, true
}

// A Mark is what a target does to the mark of a packet, or of its connection.
type Mark struct {
	What MarkWhat
	// Value is the new mark, where it is a number.
	Value uint32
	// Mask and CtMask are the bits of the packet's mark and of its connection's that are
	// meant.
	Mask, CtMask uint32
}

// MarkWhat is what a target does to a mark. The new one is old &^ mask ^ value, where the
// value is a number, or the other mark & its mask.
type MarkWhat uint8

// The connection's are in the order of XT_CONNMARK_SET, _SAVE and _RESTORE.
const (
	SetCtMark MarkWhat = iota
	SaveMark
	RestoreMark
	SetMark
)

// DecodeMark reads the target MARK, struct xt_mark_tginfo2, and CONNMARK, struct
// xt_connmark_tginfo1 and, if it does not shift, _tginfo2.
func DecodeMark(i Info) (m Mark, ok bool) {
	switch {
	case i.Name == "MARK" && i.Rev == 2 && i.size(8):
		return Mark{What: SetMark, Value: i.u32(0), Mask: i.u32(4)}, true
	case i.Name == "CONNMARK" && (i.Rev == 1 || i.Rev == 2) && i.size(13):
		mode, shifted := i.Data[12], false
		if i.Rev == 2 && i.size(15) { // after the direction and the number of bits
			mode, shifted = i.Data[14], i.Data[13] != 0
		}
		return Mark{What: MarkWhat(mode), Value: i.u32(0), CtMask: i.u32(4), Mask: i.u32(8)}, mode <= uint8(RestoreMark) && !shifted
	}
	return m, false
}

// HashedMark are the marks that the target HMARK gives, from one on so many: struct
// xt_hmark_info ends with the modulus and what is added.
func HashedMark(i Info) (from, n uint32, ok bool) {
	if i.Name != "HMARK" || i.Rev != 0 || !i.size(60) || i.u32(52) == 0 {
		return 0, 0, false
	}
	return i.u32(56), i.u32(52), true
}

// WritesMark reports whether a target may write into a mark. SET does where it is told to take
// the mark that an ipset has for a packet (IPSET_FLAG_MAP_SKBMARK in struct
// xt_set_info_target_v3).
func WritesMark(i Info) bool {
	if i.Name == "SET" {
		const mapsMark = 1 << 8
		return i.Rev >= 3 && len(i.Data) >= 16 && i.u32(12)&mapsMark != 0
	}
	return i.Name == "MARK" || i.Name == "CONNMARK" || i.Name == "HMARK"
}

// Untracks reports whether the target CT takes packets out of conntrack: the first bit of
// struct xt_ct_target_info and its _v1 (XT_CT_NOTRACK).
func Untracks(i Info) bool { return len(i.Data) >= 2 && i.u16(0)&1 != 0 }

// Expires reports whether the target TTL, or HL of IPv6, leaves packets no hop to go: struct
// ipt_TTL_info and ip6t_HL_info have a mode, of which 0 sets and 2 takes away, and the number. Most
// packets begin with 64, and those that come from afar have half of them left.
func Expires(i Info) bool {
	const sets, takes, left = 0, 2, 32
	return len(i.Data) >= 2 && (i.Data[0] == sets && i.Data[1] <= 1 || i.Data[0] == takes && i.Data[1] >= left)
}

// Destination returns where the DNAT target leads, "" if that is more than one
// address or not known. Revision 2 is struct nf_nat_range2, 1 nf_nat_range, and
// 0 struct nf_nat_ipv4_multi_range_compat; ports are in network order.
func Destination(i Info) string {
	if i.Name != "DNAT" || i.Rev == 0 && i.IPv6 { // IPv6 began with revision 1
		return ""
	}
	const mapIPs, specified = 1, 2
	lo, hi, port, flags := 4, 20, 36, 0
	if i.Rev == 0 {
		lo, hi, port, flags = 8, 12, 16, 4
	}
	if len(i.Data) < port+4 || i.u32(flags)&mapIPs == 0 || i.addr(lo) != i.addr(hi) {
		return ""
	}
	if i.u32(flags)&specified == 0 {
		return i.addr(lo).String()
	}
	return netip.AddrPortFrom(i.addr(lo), binary.BigEndian.Uint16(i.Data[port:])).String()
}
