// SPDX-License-Identifier: Apache-2.0

package xt

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/iptsave"
)

// ports reads two numbers, from and to.
func (i Info) ports(at int) string {
	from, to := i.u16(at), i.u16(at+2)
	if from == to {
		return strconv.Itoa(int(from))
	}
	return fmt.Sprintf("%d:%d", from, to)
}

// portOptions are --sport and --dport, without those that match every port.
func (i Info) portOptions(src, dst int, invert byte) []iptsave.Option {
	const notSource, notDest = 1, 2
	var out []iptsave.Option
	for _, p := range []struct {
		name string
		at   int
		not  bool
	}{{"--sport", src, invert&notSource != 0}, {"--dport", dst, invert&notDest != 0}} {
		if list := i.ports(p.at); p.not || list != "0:65535" {
			out = append(out, option(p.not, p.name, list))
		}
	}
	return out
}

// tcp reads struct xt_tcp: ports, a TCP option, flags.
func tcp(i Info) ([]iptsave.Option, bool) {
	if !i.size(12) {
		return nil, false
	}
	out := i.portOptions(0, 4, i.Data[11])
	if i.Data[8] != 0 {
		out = append(out, option(false, "--tcp-option"))
	}
	const notFlags = 4
	if mask, is := i.Data[9], i.Data[10]; mask != 0 {
		out = append(out, option(i.Data[11]&notFlags != 0, "--tcp-flags", tcpFlags(mask), tcpFlags(is)))
	}
	return out, true
}

// tcpFlags are the flags of TCP as iptables-save prints them.
func tcpFlags(bits byte) string {
	var out []string
	for n, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} {
		if bits&(1<<n) != 0 {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return "NONE"
	}
	return strings.Join(out, ",")
}

// socket reads struct xt_socket_mtinfo1 to 3: flags.
func socket(i Info) ([]iptsave.Option, bool) {
	if !i.size(1) || i.Data[0] > 7 {
		return nil, false
	}
	var out []iptsave.Option
	for n, name := range []string{"--transparent", "--nowildcard", "--restore-skmark"} {
		if i.Data[0]&(1<<n) != 0 {
			out = append(out, option(false, name))
		}
	}
	return out, true
}

// udp reads struct xt_udp.
func udp(i Info) ([]iptsave.Option, bool) {
	if !i.size(9) {
		return nil, false
	}
	return i.portOptions(0, 4, i.Data[8]), true
}

// sctp reads struct xt_sctp_info. Which of its parts count is in its flags.
func sctp(i Info) ([]iptsave.Option, bool) {
	const source, dest, chunk, flags, invert = 1, 2, 4, 284, 288
	if !i.size(292) {
		return nil, false
	}
	var out []iptsave.Option
	set, not := i.u32(flags), i.u32(invert)
	if set&source != 0 {
		out = append(out, option(not&source != 0, "--sport", i.ports(4)))
	}
	if set&dest != 0 {
		out = append(out, option(not&dest != 0, "--dport", i.ports(0)))
	}
	if set&chunk != 0 {
		out = append(out, option(false, "--chunk-types"))
	}
	return out, true
}

// iprange reads struct xt_iprange_mtinfo.
func iprange(i Info) ([]iptsave.Option, bool) {
	const src, dst, notSrc, notDst = 1, 2, 16, 32
	if !i.size(65) {
		return nil, false
	}
	flags := i.Data[64]
	between := func(at int) string { return fmt.Sprintf("%s-%s", i.addr(at), i.addr(at+16)) }
	var out []iptsave.Option
	if flags&src != 0 {
		out = append(out, option(flags&notSrc != 0, "--src-range", between(0)))
	}
	if flags&dst != 0 {
		out = append(out, option(flags&notDst != 0, "--dst-range", between(32)))
	}
	return out, true
}

// Parts of struct xt_conntrack_mtinfo3 and the bits that say which of them count.
const (
	ctSize     = 164
	ctProto    = 136
	ctPorts    = 138
	ctMatch    = 146
	ctInvert   = 148
	ctState    = 150
	ctHighPort = 154

	hasState     = 1 << 0
	hasProto     = 1 << 1
	hasStatus    = 1 << 6
	hasExpires   = 1 << 7
	hasDirection = 1 << 12
)

// conntrack reads struct xt_conntrack_mtinfo3.
func conntrack(i Info) ([]iptsave.Option, bool) {
	if !i.size(ctSize - 2) {
		return nil, false
	}
	set, not := i.u16(ctMatch), i.u16(ctInvert)
	var out []iptsave.Option
	add := func(bit uint16, name, value string) {
		if set&bit != 0 {
			out = append(out, option(not&bit != 0, name, value))
		}
	}
	add(hasState, "--ctstate", states(i.u16(ctState)))
	add(hasProto, "--ctproto", strconv.Itoa(int(i.u16(ctProto))))
	for n, name := range []string{"--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst"} {
		add(4<<n, name, i.masked(32*n))
	}
	for n, name := range []string{"--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport"} {
		value := strconv.Itoa(int(i.u16(ctPorts + 2*n)))
		if high := i.u16(ctHighPort + 2*n); high > i.u16(ctPorts+2*n) {
			value += ":" + strconv.Itoa(int(high))
		}
		add(0x100<<n, name, value)
	}
	add(hasStatus, "--ctstatus", "")
	add(hasExpires, "--ctexpire", "")
	if set&hasDirection != 0 { // its inversion means the other direction
		out = append(out, option(false, "--ctdir", map[bool]string{true: "REPLY", false: "ORIGINAL"}[not&hasDirection != 0]))
	}
	return out, true
}

// states are the bits of XT_CONNTRACK_STATE_BIT.
func states(mask uint16) string {
	var out []string
	for n, name := range []string{"INVALID", "ESTABLISHED", "RELATED", "NEW", "", "", "SNAT", "DNAT", "UNTRACKED"} {
		if mask&(1<<n) != 0 && name != "" {
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}

// masked reads an address and its mask, which may have holes.
func (i Info) masked(at int) string {
	mask := i.addr(at + 16)
	if n, ok := ones(mask.AsSlice()); ok {
		return netip.PrefixFrom(i.addr(at), n).String()
	}
	return fmt.Sprintf("%s/%s", i.addr(at), mask)
}

// ones is the length of a mask. It is not ok if that has holes.
func ones(mask []byte) (n int, ok bool) {
	bit := func(at int) bool { return mask[at/8]&(0x80>>(at%8)) != 0 }
	for n < 8*len(mask) && bit(n) {
		n++
	}
	for at := n; at < 8*len(mask); at++ {
		if bit(at) {
			return n, false
		}
	}
	return n, true
}

// ToHost reports whether packets that are sent to this host meet the match pkttype: struct
// xt_pkttype_info has the type and whether it is inverted.
func ToHost(i Info) (met, ok bool) {
	const host = 0
	if i.Name != "pkttype" || !i.size(8) {
		return false, false
	}
	return (i.u32(0) == host) != (i.u32(4) != 0), true
}

// Span reads the matches length, ttl and hl (struct xt_length_info, ipt_ttl_info and ip6t_hl_info): the
// first and the last number that they ask for, in the order of the network, or that they exclude.
// Nil is no end.
func Span(i Info) (from, to []byte, not, ok bool) {
	const below, above = 2, 3
	d := i.Data
	switch {
	case i.Rev != 0 || len(d) != 8:
	case i.Name == "length":
		return binary.BigEndian.AppendUint16(nil, i.u16(0)), binary.BigEndian.AppendUint16(nil, i.u16(2)), d[4] != 0, true
	case i.Name == "ttl" || i.Name == "hl":
		from, to = d[1:2], d[1:2]
		switch d[0] {
		case below: // not from there on
			to = nil
		case above:
			from = nil
		}
		return from, to, d[0] > 0, d[0] <= above
	}
	return nil, nil, false, false
}
