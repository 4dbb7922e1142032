// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"cmp"
	"encoding/binary"
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
//
//go:noinline // it is called from many places
func (t Table) String() string {
	family := ""
	switch t.Family {
	case Inet:
		family = "inet"
	case IPv4:
		family = "ip"
	case IPv6:
		family = "ip6"
	case Netdev:
		family = "netdev"
	}
	return family + " " + t.Name
}

// A Chain is a base chain.
type Chain struct {
	Table Table
	Name  string
	// Type is "nat", "filter" or "route".
	Type     string
	Hook     uint32
	Priority int32
	// Handle grows from chain to chain of a table (nf_tables_alloc_handle).
	Handle uint64
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
		case unix.NFTA_CHAIN_HANDLE:
			if len(payload) == 8 {
				c.Handle = binary.BigEndian.Uint64(payload)
			}
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
	var list []byte
	err = EachAttr(b, func(typ uint16, payload []byte) error {
		switch typ {
		case unix.NFTA_RULE_HANDLE:
			if len(payload) == 8 {
				r.Handle = binary.BigEndian.Uint64(payload)
			}
		case unix.NFTA_RULE_CHAIN:
			r.Chain = Text(payload)
		case unix.NFTA_RULE_USERDATA:
			r.Comment = comment(payload)
		case unix.NFTA_RULE_EXPRESSIONS:
			list = payload
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	n := 0
	for range Attrs(list).all() {
		n++
	}
	r.Exprs = make([]Expr, 0, n)
	err = EachAttr(list, func(_ uint16, elem []byte) error {
		e, err1 := expr(elem)
		_, err2 := parseAttrs(e.Attrs)
		r.Exprs = append(r.Exprs, e)
		return cmp.Or(err1, err2)
	})
	return r, err
}

// expr reads an expression in a message.
func expr(b []byte) (e Expr, err error) {
	err = EachAttr(b, func(typ uint16, payload []byte) error {
		switch typ {
		case unix.NFTA_EXPR_NAME:
			e.Name = word(payload)
		case unix.NFTA_EXPR_DATA:
			e.Attrs = payload
		}
		return nil
	})
	return e, err
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
	for _, elem := range Attrs(list).all() {
		e, _ := expr(elem)
		was := loaded
		loaded = 0
		switch e.Name {
		case "match":
		case "meta":
			if _, set := e.Attrs.Get(setsSomething); set {
				return nil, false
			}
		case "cmp":
			f := e.Attrs.Fields()
			reg, _ := f.Num(1)
			op, _ := f.Num(2)
			if was == 0 || was != reg {
				continue
			}
			v = Value(f[3])
			return v, op == 0 && len(v) == int(size)
		case "payload":
			f := e.Attrs.Fields()
			reg, loads := f.Num(1)
			from, _ := f.Num(2)
			at, _ := f.Num(3)
			n, _ := f.Num(4)
			if !loads {
				return nil, false
			}
			if from == base && at == off && n == size {
				loaded = reg
			}
		default:
			return nil, false
		}
	}
	return nil, false
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
