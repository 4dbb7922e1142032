// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Table names a table.
type Table struct {
	// Family is NFPROTO_INET, _IPV4 or _IPV6.
	Family uint8
	Name   string
}

// Families of tables in which destinations of IP packets can be translated
// (include/uapi/linux/netfilter.h).
const (
	Inet uint8 = unix.NFPROTO_INET
	IPv4 uint8 = unix.NFPROTO_IPV4
	IPv6 uint8 = unix.NFPROTO_IPV6
	// Netdev tables see all packets of a link.
	Netdev uint8 = unix.NFPROTO_NETDEV
)

// Hooks (NF_INET_*).
const (
	Prerouting  uint32 = unix.NF_INET_PRE_ROUTING
	Input       uint32 = unix.NF_INET_LOCAL_IN
	Forward     uint32 = unix.NF_INET_FORWARD
	Output      uint32 = unix.NF_INET_LOCAL_OUT
	Postrouting uint32 = unix.NF_INET_POST_ROUTING
	// InetIngress and NetdevIngress are one hook, in tables of two families.
	InetIngress   uint32 = unix.NF_INET_NUMHOOKS // NF_INET_INGRESS
	NetdevIngress uint32 = unix.NF_NETDEV_INGRESS
)

// TableDormant is NFT_TABLE_F_DORMANT: the table is there and does nothing.
const TableDormant = 1

// String returns the table as nft writes it.
func (t Table) String() string {
	return map[uint8]string{Inet: "inet", IPv4: "ip", IPv6: "ip6", Netdev: "netdev"}[t.Family] + " " + t.Name
}

// A Chain is a base chain.
type Chain struct {
	Table Table
	Name  string
	// Type is "nat", "filter" or "route".
	Type     string
	Hook     uint32
	Priority int32
}

// A Rule is a list of expressions, which the kernel evaluates in order.
type Rule struct {
	Chain string
	// Handle is the number that "nft -a" shows.
	Handle  uint64
	Comment string
	Exprs   []Expr
}

// An Expr is one expression with its attributes as they are.
type Expr struct {
	Name  string
	Attrs Attrs
}

// Packets is how many packets a counter has counted. It is not ok for another expression.
func (e Expr) Packets() (n uint64, ok bool) {
	b, _ := e.Attrs.Get(unix.NFTA_COUNTER_PACKETS)
	if e.Name != "counter" || len(b) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

// DecodeChain reads a chain. Base is false for one that is no base chain. There
// may be thousands, so each attribute is looked at once.
func DecodeChain(family uint8, b []byte) (c Chain, base bool, err error) {
	c.Table.Family = family
	var hook []byte
	err = EachAttr(b, func(typ uint16, payload []byte) error {
		switch typ {
		case unix.NFTA_CHAIN_TABLE:
			c.Table.Name = word(payload)
		case unix.NFTA_CHAIN_NAME:
			c.Name = Text(payload)
		case unix.NFTA_CHAIN_TYPE:
			c.Type = word(payload)
		case unix.NFTA_CHAIN_HOOK:
			hook = payload
		}
		return nil
	})
	if err != nil || hook == nil {
		return c, false, err
	}
	h, err := parseAttrs(hook)
	num, ok1 := h.Num(unix.NFTA_HOOK_HOOKNUM)
	prio, ok2 := h.Num(unix.NFTA_HOOK_PRIORITY)
	c.Hook, c.Priority = num, int32(prio)
	return c, ok1 && ok2, err
}

// DecodeRule reads the expressions of a rule.
func DecodeRule(b []byte) (r Rule, err error) {
	a, err := parseAttrs(b)
	if err != nil {
		return r, err
	}
	if h, _ := a.Get(unix.NFTA_RULE_HANDLE); len(h) == 8 {
		r.Handle = binary.BigEndian.Uint64(h)
	}
	r.Chain = a.Text(unix.NFTA_RULE_CHAIN)
	data, _ := a.Get(unix.NFTA_RULE_USERDATA)
	r.Comment = comment(data)
	list, _ := a.Get(unix.NFTA_RULE_EXPRESSIONS)
	n := 0
	_ = EachAttr(list, func(uint16, []byte) error { n++; return nil })
	r.Exprs = make([]Expr, 0, n)
	err = EachAttr(list, func(_ uint16, elem []byte) error {
		e, err := parseAttrs(elem)
		if err != nil {
			return err
		}
		data, err := e.Nested(unix.NFTA_EXPR_DATA)
		name, _ := e.Get(unix.NFTA_EXPR_NAME)
		r.Exprs = append(r.Exprs, Expr{Name: word(name), Attrs: data})
		return err
	})
	return r, err
}

// Destination finds the one destination that a rule in a message compares with, as
// nearly all of kube-proxy's in iptables-nft do.
func Destination(m []byte, is6 bool) (a netip.Addr, ok bool) {
	off, size := uint32(16), uint32(4)
	if is6 {
		off, size = 24, 16
	}
	v, ok := asked(m, networkHeader, off, size)
	if ok {
		a, ok = netip.AddrFromSlice(v)
	}
	return a, ok
}

// DestinationPort finds the one destination port that a rule in a message compares with.
func DestinationPort(m []byte) (uint16, bool) {
	v, ok := asked(m, transportHeader, 2, 2)
	if !ok {
		return 0, false
	}
	return binary.BigEndian.Uint16(v), true
}

// Bases of payloads (NFT_PAYLOAD_*).
const networkHeader, transportHeader = unix.NFT_PAYLOAD_NETWORK_HEADER, unix.NFT_PAYLOAD_TRANSPORT_HEADER

// asked finds the one value that size bytes of a header must have for a rule in a
// message to have any effect: nothing before the comparison has one.
func asked(m []byte, base, off, size uint32) (v []byte, ok bool) {
	const setsSomething = unix.NFTA_META_SREG
	list, _ := Attrs(m).Get(unix.NFTA_RULE_EXPRESSIONS)
	loaded := uint32(0) // the register with the bytes, if they were just loaded
	stop := errors.New("stop")
	_ = EachAttr(list, func(_ uint16, elem []byte) error {
		name, _ := Attrs(elem).Get(unix.NFTA_EXPR_NAME)
		data, _ := Attrs(elem).Get(unix.NFTA_EXPR_DATA)
		e := Attrs(data)
		was := loaded
		loaded = 0
		switch word(name) {
		case "match":
		case "meta":
			if _, set := e.Get(setsSomething); set {
				return stop
			}
		case "cmp":
			reg, _ := e.Num(1)
			op, _ := e.Num(2)
			value, _ := e.Get(3)
			if was == 0 || was != reg {
				return nil
			}
			v = Value(value)
			ok = op == 0 && len(v) == int(size)
			return stop
		case "payload":
			reg, loads := e.Num(1)
			from, _ := e.Num(2)
			at, _ := e.Num(3)
			n, _ := e.Num(4)
			if !loads {
				return stop
			}
			if from == base && at == off && n == size {
				loaded = reg
			}
		default:
			return stop
		}
		return nil
	})
	return v, ok
}

// Text returns a string without its NUL.
func Text(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

// word is text without a copy for the words that nearly all messages have.
func word(b []byte) string {
	b = bytes.TrimRight(b, "\x00")
	for _, known := range [...]string{"meta", "cmp", "payload", "match", "counter", "immediate", "target", "bitwise", "lookup", "nat", "filter"} {
		if string(b) == known {
			return known
		}
	}
	return string(b)
}

// Target returns the chain that the rule jumps or goes to, "" if none.
func (r Rule) Target() string {
	for _, e := range r.Exprs {
		if e.Name != "immediate" {
			continue
		}
		data, _ := e.Attrs.Nested(unix.NFTA_IMMEDIATE_DATA)
		if v, err := DecodeVerdict(data); err == nil && v.Chain != "" {
			return v.Chain
		}
	}
	return ""
}
