// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A cond is a match on something that the walk keeps track of: destination,
// source, incoming interface or a mark.
type cond struct {
	kind        condKind
	addrs       addrset.Set
	in          string
	value, mask uint32
	not         bool
	// loose means that not all of addrs fulfil the condition, but no others.
	loose bool
}

// conds are conditions that must all hold.
type conds []cond

type condKind uint8

const (
	onDst condKind = iota
	onSrc
	onIn
	onMark
	onCtMark
)

// condition reads o as a cond, if it is one. An address of the other family stays
// undecided: iptables would have refused it.
func condition(o iptsave.Option, p Packet) (c cond, ok bool) {
	is4 := p.Family() == hostport.IPv4
	switch {
	case o.Name == "--ctorigdst":
		c.addrs, ok = parseNet(o.Value(), is4)
	case o.Name == "--ctorigsrc":
		c.kind = onSrc
		c.addrs, ok = parseNet(o.Value(), is4)
	case o.Name == "--dst-range", o.Name == "--src-range":
		c.addrs, ok = parseRange(o.Value(), is4)
		c = p.within(o.Name == "--src-range", c.addrs)
	case o.Module == "mark" && o.Name == "--mark":
		c.kind = onMark
		c.value, c.mask, ok = parseMark(o.Value())
	case o.Module == "connmark" && o.Name == "--mark":
		c.kind = onCtMark
		c.value, c.mask, ok = parseMark(o.Value())
	}
	c.not = o.Not
	return c, ok
}

// srcType reads "--src-type", of answers "--dst-type", as a condition on the source of the
// connection, where the node's addresses are known. For IPv4 UNICAST is what is not local: the
// look-up is in table local (inet_dev_addr_type), and no connection has one of the broadcast
// addresses there as its source. For IPv6 it is a property of the address.
func srcType(o iptsave.Option, p Packet) (c cond, ok bool) {
	c = cond{kind: onSrc, not: o.Not}
	is4 := p.Family() == hostport.IPv4
	switch {
	case p.Local == nil || p.Beside, o.Name != map[bool]string{false: "--src-type", true: "--dst-type"}[p.Answer]:
		return c, false
	case o.Value() == "LOCAL":
		c.addrs = p.Local
	case o.Value() == "UNICAST" && is4:
		c.addrs = p.Local.Not(true)
	case o.Value() == "UNICAST":
		c.addrs = addrset.Of(netip.MustParsePrefix("ff00::/8")).Or(addrset.Of(netip.MustParsePrefix("::/128"))).Not(false)
	default:
		return c, false
	}
	return c, true
}

// parseNet reads "10.0.0.0/8". A mask with holes (10.0.0.1/255.0.0.255) is no interval
// and stays unknown.
func parseNet(s string, is4 bool) (addrset.Set, bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4() != is4 {
		return nil, false
	}
	return addrset.Of(p), true
}

func parseRange(s string, is4 bool) (addrset.Set, bool) {
	lo, hi, _ := strings.Cut(s, "-")
	from, err1 := netip.ParseAddr(lo)
	to, err2 := netip.ParseAddr(hi)
	if err1 != nil || err2 != nil || from.Is4() != is4 {
		return nil, false
	}
	set := addrset.Between(from, to)
	return set, len(set) > 0
}

// parseMark reads "0x4000/0x4000", or a number without a mask.
func parseMark(s string) (value, mask uint32, ok bool) {
	v, m, masked := strings.Cut(s, "/")
	if !masked {
		m = "0xffffffff"
	}
	n1, err1 := strconv.ParseUint(v, 0, 32)
	n2, err2 := strconv.ParseUint(m, 0, 32)
	return uint32(n1), uint32(n2), err1 == nil && err2 == nil
}

// maxSources bounds the spans of sources in a box. Beyond it those that a rule has met
// are not taken out any more: a firewall with thousands of such rules is followed in time.
const maxSources = 200

// maxLinks bounds the links that a box leaves out in the same way.
const maxLinks = 1000

// apply restricts a box to what fulfils c, or, with other, to what does not.
// some is false if there are none. sure is false if the answer depends on a mark that is not known.
func (c *cond) apply(b *box, other bool) (some, sure bool) {
	not := c.not != other
	if c.loose && not {
		return true, true
	}
	if not && (c.kind == onSrc && len(b.src) > maxSources || c.kind == onIn && len(b.in.except) > maxLinks) {
		return true, true
	}
	switch c.kind {
	case onDst:
		b.dst = c.of(b.dst, not)
		return len(b.dst) > 0, true
	case onSrc:
		b.src = c.of(b.src, not)
		return len(b.src) > 0, true
	case onIn:
		b.in, some = b.in.with(c.in, not)
		return some, true
	case onMark, onCtMark:
		mark := &b.mark
		if c.kind == onCtMark {
			mark = &b.ctMark
		}
		b.doubtful = b.doubtful || mark.unexpected(c.value, c.mask, not)
		*mark, some, sure = mark.with(c.value, c.mask, not)
	}
	return some, sure
}

// of are those of some addresses that fulfil a condition on them, or do not.
func (c *cond) of(all addrset.Set, not bool) addrset.Set {
	if not {
		return all.Minus(c.addrs)
	}
	return all.And(c.addrs)
}

// split are the packets of a box for which all conditions hold, if there are some, and the
// others. The conditions are such that every answer is sure.
func (cs conds) split(b box) (in, out []box) {
	for i := range cs {
		rest := b
		if some, _ := cs[i].apply(&rest, true); some {
			out = append(out, rest)
		}
		if some, _ := cs[i].apply(&b, false); !some {
			return nil, out
		}
	}
	return []box{b}, out
}

// splitAny are the packets of a box for which one of several conditions holds, and the others.
func splitAny(anyOf []conds, b box) (in, rest []box) {
	rest = []box{b}
	for _, all := range anyOf {
		var next []box
		for _, b := range rest {
			met, not := all.split(b)
			in, next = append(in, met...), append(next, not...)
		}
		rest = next
	}
	return in, rest
}
