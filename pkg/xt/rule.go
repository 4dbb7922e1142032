// SPDX-License-Identifier: Apache-2.0

package xt

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
)

// Spec decodes a rule of nf_tables into the words of iptables. Ok is false if that is not
// all of it.
func Spec(r nft.Rule, f hostport.Family) (s iptsave.Spec, ok bool) {
	d := decoder{family: f, ok: true, regs: map[uint32][]byte{}}
	for _, e := range r.Exprs {
		d.expr(e)
	}
	if r.Comment != "" {
		d.spec.Matches = append(d.spec.Matches, option(false, "--comment", r.Comment))
	}
	return d.spec, d.ok
}

type decoder struct {
	family hostport.Family
	spec   iptsave.Spec
	ok     bool
	// loaded is the option that asks for what was loaded last, with its mask.
	loaded string
	mask   []byte
	regs   map[uint32][]byte
}

func (d *decoder) expr(e nft.Expr) {
	loaded, mask := d.loaded, d.mask
	d.loaded, d.mask = "", nil
	switch e.Name {
	case "counter":
		d.loaded, d.mask = loaded, mask
	case "meta":
		key, _ := e.Attrs.Num(unix.NFTA_META_KEY)
		switch key {
		case unix.NFT_META_L4PROTO:
			d.loaded = "-p"
		case unix.NFT_META_IIFNAME:
			d.loaded = "-i"
		case unix.NFT_META_OIFNAME:
			d.loaded = "-o"
		}
	case "payload":
		d.loaded = d.payload(e.Attrs)
	case "bitwise":
		m, _ := e.Attrs.Nested(unix.NFTA_BITWISE_MASK)
		d.loaded, d.mask = loaded, nft.Value(m)
	case "cmp":
		d.compare(loaded, mask, e.Attrs)
	case "match":
		i := InfoOf(e, d.family == hostport.IPv6)
		opts, known := Match(i)
		d.module(i.Name)
		d.spec.Matches, d.ok = append(d.spec.Matches, opts...), d.ok && known
	case "target":
		d.target(InfoOf(e, d.family == hostport.IPv6))
	case "immediate":
		d.immediate(e.Attrs)
	case "nat":
		d.nat(e.Attrs)
	default:
		d.ok = false
	}
}

// module begins the options of a match.
func (d *decoder) module(name string) {
	m := option(false, "-m", name)
	m.Module = name
	d.spec.Matches = append(d.spec.Matches, m)
}

// target is a target of xtables.
func (d *decoder) target(i Info) {
	switch d.spec.Target = i.Name; i.Name {
	case "DNAT":
		d.leads(Destination(i))
	case "MASQUERADE":
		// struct nf_nat_ipv4_multi_range_compat, or nf_nat_range: flags come first or second.
		d.ok = d.ok && len(i.Data) >= 8 && (i.IPv6 && i.u32(0) == 0 || !i.IPv6 && i.u32(4) == 0)
	default:
		d.ok = false
	}
}

// payload names the option that is about a part of a packet, "" if there is none.
func (d *decoder) payload(a nft.Attrs) string {
	base, _ := a.Num(unix.NFTA_PAYLOAD_BASE)
	off, _ := a.Num(unix.NFTA_PAYLOAD_OFFSET)
	size, _ := a.Num(unix.NFTA_PAYLOAD_LEN)
	source, dest, proto := uint32(12), uint32(16), uint32(9)
	if d.family == hostport.IPv6 {
		source, dest, proto = 8, 24, 6
	}
	switch {
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && size == 2 && off == 0:
		return "--sport"
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && size == 2 && off == 2:
		return "--dport"
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && size == 4 && off == 0:
		return bothPorts
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && size == 1 && off == 13:
		return "--tcp-flags"
	case base != unix.NFT_PAYLOAD_NETWORK_HEADER:
		return ""
	case off == source && size <= uint32(d.family.Bits()/8):
		return "-s"
	case off == dest && size <= uint32(d.family.Bits()/8):
		return "-d"
	case off == proto && size == 1:
		return "-p"
	}
	return ""
}

// compare adds the option for a comparison with one value.
func (d *decoder) compare(name string, mask []byte, a nft.Attrs) {
	op, _ := a.Num(unix.NFTA_CMP_OP)
	data, _ := a.Nested(unix.NFTA_CMP_DATA)
	v := nft.Value(data)
	if name == bothPorts && op == unix.NFT_CMP_EQ && len(v) == 4 && mask == nil {
		d.ports(v)
		return
	}
	var text string
	switch {
	case op != unix.NFT_CMP_EQ && op != unix.NFT_CMP_NEQ:
	case name == "-s" || name == "-d":
		text = network(v, mask, d.family)
	case name == "-i" || name == "-o":
		if text = nft.Text(v); len(v) == 0 || v[len(v)-1] != 0 {
			text += "+"
		}
	case name == "-p" && len(v) == 1:
		text = hostport.Proto(v[0]).String()
	case (name == "--dport" || name == "--sport") && len(v) == 2 && mask == nil:
		text = strconv.Itoa(int(binary.BigEndian.Uint16(v)))
	case name == "--tcp-flags" && len(v) == 1 && len(mask) == 1:
		text = tcpFlags(mask[0])
	}
	if text == "" {
		d.ok = false
		return
	}
	o := option(op == unix.NFT_CMP_NEQ, name, text)
	if name == "--tcp-flags" {
		o.Values = append(o.Values, tcpFlags(v[0]))
	}
	if p, _ := d.spec.Option("-p"); name == "--dport" || name == "--sport" || name == "--tcp-flags" { // of a match of its own in iptables
		d.module(p.Value())
		o.Module = p.Value()
	}
	d.spec.Matches = append(d.spec.Matches, o)
}

// bothPorts is what both ports are loaded for: iptables-nft compares them at once.
const bothPorts = "--sport --dport"

// ports adds the options for both ports.
func (d *decoder) ports(v []byte) {
	p, _ := d.spec.Option("-p")
	d.module(p.Value())
	for i, name := range []string{"--sport", "--dport"} {
		o := option(false, name, strconv.Itoa(int(binary.BigEndian.Uint16(v[2*i:]))))
		o.Module = p.Value()
		d.spec.Matches = append(d.spec.Matches, o)
	}
}

// network writes the first bytes of an address, or a masked one, as a network.
func network(v, mask []byte, f hostport.Family) string {
	bits, ok := 8*len(v), true
	if mask != nil {
		bits, ok = ones(mask)
	}
	whole := make([]byte, f.Bits()/8)
	copy(whole, v)
	a, _ := netip.AddrFromSlice(whole)
	p := netip.PrefixFrom(a, bits)
	if !ok || len(v) > len(whole) || !p.IsValid() {
		return ""
	}
	return p.String()
}

// immediate is a verdict, or a value for nat.
func (d *decoder) immediate(a nft.Attrs) {
	reg, _ := a.Num(unix.NFTA_IMMEDIATE_DREG)
	data, _ := a.Nested(unix.NFTA_IMMEDIATE_DATA)
	if reg != unix.NFT_REG_VERDICT {
		d.regs[reg] = nft.Value(data)
		return
	}
	v, err := nft.DecodeVerdict(data)
	d.ok = d.ok && err == nil
	d.spec.Goto = v.Code == unix.NFT_GOTO
	switch {
	case v.Chain != "":
		d.spec.Target = v.Chain
	case v.Code == nft.Accept:
		d.spec.Target = "ACCEPT"
	case v.Code == nft.Drop:
		d.spec.Target = "DROP"
	case v.Code == unix.NFT_RETURN:
		d.spec.Target = "RETURN"
	default:
		d.ok = false
	}
}

// nat translates the destination to an address and a port.
func (d *decoder) nat(a nft.Attrs) {
	typ, _ := a.Num(unix.NFTA_NAT_TYPE)
	addr, _ := a.Num(unix.NFTA_NAT_REG_ADDR_MIN)
	port, _ := a.Num(unix.NFTA_NAT_REG_PROTO_MIN)
	to, valid := netip.AddrFromSlice(d.regs[addr])
	if p := d.regs[port]; typ == unix.NFT_NAT_DNAT && valid && len(p) >= 2 {
		d.spec.Target = "DNAT"
		d.leads(netip.AddrPortFrom(to, binary.BigEndian.Uint16(p)).String())
		return
	}
	d.ok = false
}

func (d *decoder) leads(to string) {
	d.ok = d.ok && to != ""
	d.spec.TargetOptions = append(d.spec.TargetOptions, option(false, "--to-destination", to))
}

// Target is Spec's Target, without a look at the rest.
func Target(r nft.Rule) string {
	for _, e := range r.Exprs {
		if e.Name == "target" {
			return e.Attrs.Text(unix.NFTA_TARGET_NAME)
		}
	}
	if to := r.Target(); to != "" {
		return to
	}
	s, _ := Spec(r, hostport.IPv4)
	return s.Target
}

// Source is what a rule compares the source with, without a look at its matches. It is
// not ok if that is not one network.
func Source(r nft.Rule, f hostport.Family) (p netip.Prefix, ok bool) {
	d := decoder{family: f}
	for _, e := range r.Exprs {
		switch {
		case e.Name == "meta", e.Name == "payload", d.loaded == "-s" && (e.Name == "bitwise" || e.Name == "cmp"):
			d.expr(e)
		}
	}
	o, there := d.spec.Option("-s")
	p, err := netip.ParsePrefix(o.Value())
	return p, there && !o.Not && err == nil
}

// Native reports whether a rule is not one that iptables-nft makes: it has an expression
// that iptables cannot show.
func Native(r nft.Rule) bool {
	for _, e := range r.Exprs {
		switch e.Name {
		case "counter", "meta", "payload", "bitwise", "cmp", "range", "match", "target", "immediate", "limit", "log":
		default:
			return true
		}
	}
	return false
}

// Packets is how many packets a rule has counted, -1 if it does not count.
func Packets(r nft.Rule) int64 {
	for _, e := range r.Exprs {
		if n, ok := e.Packets(); ok {
			return int64(n)
		}
	}
	return -1
}
