// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// Actions of rules, one of their flags, sizeof(struct fib_rule_hdr), and attributes that
// package unix does not have (include/uapi/linux/fib_rules.h).
const (
	ruleLooksUp   = 1 // FR_ACT_TO_TBL
	ruleGoto      = 2
	ruleNop       = 3
	ruleInvert    = 2 // FIB_RULE_INVERT
	ruleHeader    = 12
	ruleSportMask = 28
	ruleDportMask = 29
)

// sourcePorts is one of the names of what else restricts a rule.
const sourcePorts = "sport"

// A fibRule is a rule of policy routing as it was read.
type fibRule struct {
	hostport.RouteRule
	action     uint8
	table      uint32
	l3mdev     bool
	prio, jump uint32
	// not is set if it is for all but what it names; others are the names of what else
	// restricts it.
	not    bool
	others []string
	// suppressBits is the length up to which prefixes of its table do not count, suppressGroup
	// the group of links by which no route does; both are -1 if there is none.
	suppressBits, suppressGroup int
}

// plain reports whether a rule is for all packets.
func (r *fibRule) plain() bool {
	return !r.Vague && !r.Src.IsValid() && !r.Dst.IsValid() && r.In == "" && r.Mask == 0 && r.Proto == 0 && r.Ports == [2]uint16{}
}

// decodeRule reads a struct fib_rule_hdr with its attributes. The family of rules that are
// not of routing by address (multicast) stays 0.
func decodeRule(m []byte) (r fibRule, err error) {
	if len(m) < ruleHeader {
		return r, fmt.Errorf("a rule of %d bytes", len(m))
	}
	attrs, err := nl.ParseRouteAttr(m[ruleHeader:])
	if err != nil {
		return r, err
	}
	switch m[0] {
	case unix.AF_INET:
		r.Family = hostport.IPv4
	case unix.AF_INET6:
		r.Family = hostport.IPv6
	default:
		return r, nil
	}
	r.suppressBits, r.suppressGroup = -1, -1
	r.action, r.not = m[7], binary.NativeEndian.Uint32(m[8:])&ruleInvert != 0
	if m[3] != 0 {
		r.others = append(r.others, fmt.Sprintf("tos 0x%x", m[3]))
	}
	for _, a := range attrs {
		if need := ruleAttrLen(a.Attr.Type); len(a.Value) < need {
			return r, fmt.Errorf("attribute %d of a rule has %d bytes", a.Attr.Type, len(a.Value))
		}
		r.attribute(a.Attr.Type, a.Value, m)
	}
	if r.Mark != 0 && r.Mask == 0 {
		r.Mask = ^uint32(0)
	}
	r.Vague = r.not || len(r.others) > 0 || r.action == ruleGoto
	r.Text = r.text()
	return r, nil
}

// ruleAttrLen is the least length of an attribute.
func ruleAttrLen(attr uint16) int {
	switch attr {
	case unix.FRA_PRIORITY, unix.FRA_TABLE, unix.FRA_GOTO, unix.FRA_FWMARK, unix.FRA_FWMASK, unix.FRA_DPORT_RANGE,
		unix.FRA_SUPPRESS_PREFIXLEN, unix.FRA_SUPPRESS_IFGROUP:
		return 4
	case ruleDportMask:
		return 2
	case unix.FRA_IP_PROTO:
		return 1
	}
	return 0
}

// attribute reads one attribute; m has the lengths of prefixes.
func (r *fibRule) attribute(attr uint16, v, m []byte) {
	switch attr {
	case unix.FRA_PRIORITY:
		r.prio = binary.NativeEndian.Uint32(v)
	case unix.FRA_TABLE:
		r.table = binary.NativeEndian.Uint32(v)
	case unix.FRA_GOTO:
		r.jump = binary.NativeEndian.Uint32(v)
	case unix.FRA_L3MDEV:
		r.l3mdev = true
	case unix.FRA_SRC:
		addr, _ := netip.AddrFromSlice(v)
		r.Src = netip.PrefixFrom(addr, int(m[2]))
	case unix.FRA_DST:
		addr, _ := netip.AddrFromSlice(v)
		r.Dst = netip.PrefixFrom(addr, int(m[1]))
	case unix.FRA_IIFNAME:
		r.In = strings.TrimRight(string(v), "\x00")
	case unix.FRA_FWMARK:
		r.Mark = binary.NativeEndian.Uint32(v)
	case unix.FRA_FWMASK:
		r.Mask = binary.NativeEndian.Uint32(v)
	case unix.FRA_IP_PROTO:
		r.Proto = hostport.Proto(v[0])
	case unix.FRA_DPORT_RANGE:
		r.Ports = [2]uint16{binary.NativeEndian.Uint16(v), binary.NativeEndian.Uint16(v[2:])}
	case ruleDportMask:
		if binary.NativeEndian.Uint16(v) != 0xffff {
			r.others = append(r.others, "a mask of ports")
		}
	case unix.FRA_OIFNAME:
		r.others = append(r.others, "oif "+strings.TrimRight(string(v), "\x00"))
	case unix.FRA_SPORT_RANGE:
		r.others = append(r.others, sourcePorts)
	case unix.FRA_UID_RANGE:
		r.others = append(r.others, "uidrange")
	case unix.FRA_SUPPRESS_PREFIXLEN:
		r.suppressBits = int(int32(binary.NativeEndian.Uint32(v)))
	case unix.FRA_SUPPRESS_IFGROUP:
		r.suppressGroup = int(int32(binary.NativeEndian.Uint32(v)))
	case unix.FRA_PROTOCOL, unix.FRA_FLOW, unix.FRA_PAD, ruleSportMask:
	default: // what is newer
		r.others = append(r.others, fmt.Sprintf("attribute %d", attr))
	}
}

// text writes a rule much as ip prints it.
func (r *fibRule) text() string {
	words := []string{fmt.Sprintf("%d:", r.prio)}
	add := func(set bool, format string, args ...any) {
		if set {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(r.not, "not")
	add(r.Src.IsValid(), "from %s", r.Src)
	add(!r.Src.IsValid(), "from all")
	add(r.Dst.IsValid(), "to %s", r.Dst)
	add(r.Mask == ^uint32(0), "fwmark 0x%x", r.Mark)
	add(r.Mask != 0 && r.Mask != ^uint32(0), "fwmark 0x%x/0x%x", r.Mark, r.Mask)
	add(r.In != "", "iif %s", r.In)
	add(r.Proto != 0, "ipproto %s", r.Proto)
	add(r.Ports[0] != r.Ports[1], "dport %d-%d", r.Ports[0], r.Ports[1])
	add(r.Ports[0] != 0 && r.Ports[0] == r.Ports[1], "dport %d", r.Ports[0])
	for _, o := range r.others {
		add(true, "%s", o)
	}
	words = append(words, r.leads())
	add(r.suppressBits >= 0, "suppress_prefixlength %d", r.suppressBits)
	add(r.suppressGroup >= 0, "suppress_ifgroup %d", r.suppressGroup)
	return strings.Join(words, " ")
}

// leads says what a rule does.
func (r *fibRule) leads() string {
	switch r.action {
	case ruleGoto:
		return fmt.Sprintf("goto %d", r.jump)
	case ruleNop:
		return "nop"
	case unix.RTN_BLACKHOLE:
		return "blackhole"
	case unix.RTN_UNREACHABLE:
		return "unreachable"
	case unix.RTN_PROHIBIT:
		return "prohibit"
	}
	switch r.table {
	case unix.RT_TABLE_LOCAL:
		return "lookup local"
	case unix.RT_TABLE_MAIN:
		return "lookup main"
	case unix.RT_TABLE_DEFAULT:
		return "lookup default"
	}
	return fmt.Sprintf("lookup %d", r.table)
}
