// SPDX-License-Identifier: Apache-2.0

// Package addrset knows sets of IP addresses of one family. It is pure.
package addrset

import (
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// A Set is a sorted list of spans that do not touch. The zero value is empty.
type Set []Span

// A Span is an interval of addresses, both ends included.
type Span struct{ Lo, Hi netip.Addr }

// All returns every address of IPv4 or IPv6.
func All(is4 bool) Set {
	first := netip.IPv6Unspecified()
	if is4 {
		first = netip.IPv4Unspecified()
	}
	return Of(netip.PrefixFrom(first, 0))
}

// Of returns the addresses of p.
func Of(p netip.Prefix) Set {
	if p.IsSingleIP() {
		return Set{{p.Addr(), p.Addr()}}
	}
	return Set{{p.Masked().Addr(), last(p)}}
}

// Between returns the addresses from lo to hi, none if they are not in order.
func Between(lo, hi netip.Addr) Set {
	if lo.BitLen() != hi.BitLen() || hi.Less(lo) {
		return nil
	}
	return Set{{lo, hi}}
}

// last returns the highest address of p.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		b[i] |= byte(0xff >> min(8, max(0, p.Bits()-8*i)))
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// And returns the addresses in both sets.
func (s Set) And(o Set) Set {
	if len(o) == 1 && s.Covers(o) || len(s) == 1 && len(o) > 0 && s.Covers(Set{{o[0].Lo, o[len(o)-1].Hi}}) { // as most rules' addresses
		return o
	}
	var out Set
	for i, j := s.behind(o), o.behind(s); i < len(s) && j < len(o); {
		lo, hi := s[i].Lo, s[i].Hi
		if lo.Less(o[j].Lo) {
			lo = o[j].Lo
		}
		if o[j].Hi.Less(hi) {
			hi = o[j].Hi
		}
		if !hi.Less(lo) {
			out = append(out, Span{lo, hi})
		}
		if s[i].Hi.Less(o[j].Hi) {
			i++
		} else {
			j++
		}
	}
	return out
}

// behind is the index of the first span that does not end before o begins.
func (s Set) behind(o Set) int {
	if len(o) == 0 || len(s) < 8 { // which And goes through in less time
		return 0
	}
	i, _ := slices.BinarySearchFunc(s, o[0].Lo, func(sp Span, a netip.Addr) int { return sp.Hi.Compare(a) })
	return i
}

// Minus returns the addresses of s that are not in o.
func (s Set) Minus(o Set) Set {
	i, j := s.behind(o), o.behind(s)
	out := append(make(Set, 0, len(s)+len(o)), s[:i]...)
	for ; i < len(s) && j < len(o); i++ {
		sp := s[i]
		for ; j < len(o) && o[j].Hi.Less(sp.Hi); j++ {
			if sp.Lo.Less(o[j].Lo) {
				out = append(out, Span{sp.Lo, o[j].Lo.Prev()})
			}
			if !o[j].Hi.Less(sp.Lo) {
				sp.Lo = o[j].Hi.Next()
			}
		}
		switch {
		case j == len(o) || sp.Hi.Less(o[j].Lo):
			out = append(out, sp)
		case sp.Lo.Less(o[j].Lo):
			out = append(out, Span{sp.Lo, o[j].Lo.Prev()})
		}
	}
	if out = append(out, s[i:]...); len(out) == 0 {
		return nil
	}
	return out
}

// Not returns the other addresses of the family.
func (s Set) Not(is4 bool) Set {
	all := All(is4)[0]
	out := make(Set, 0, len(s)+1)
	next := all.Lo
	for _, sp := range s {
		if next.Less(sp.Lo) {
			out = append(out, Span{next, sp.Lo.Prev()})
		}
		if sp.Hi == all.Hi {
			return out
		}
		next = sp.Hi.Next()
	}
	return append(out, Span{next, all.Hi})
}

type byLo []Span

func (b byLo) Len() int           { return len(b) }
func (b byLo) Less(i, j int) bool { return b[i].Lo.Less(b[j].Lo) }
func (b byLo) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }

// Or returns the addresses in either set.
func (s Set) Or(o Set) Set { return Union(s, o) }

// Union returns the addresses that are in some of the sets.
func Union(sets ...Set) Set {
	spans := slices.Concat(sets...)
	sort.Sort(byLo(spans)) // a generic sort is 8 KB of the program
	out := Set(spans[:0])
	for _, sp := range spans {
		if n := len(out); n > 0 && (!out[n-1].Hi.Less(sp.Lo) || out[n-1].Hi.Next() == sp.Lo) {
			if out[n-1].Hi.Less(sp.Hi) {
				out[n-1].Hi = sp.Hi
			}
			continue
		}
		out = append(out, sp)
	}
	return out
}

// Only returns the addresses of one family in a set of both.
func (s Set) Only(is4 bool) Set {
	return slices.DeleteFunc(slices.Clone(s), func(sp Span) bool { return sp.Lo.Is4() != is4 })
}

// Contains reports whether a is in the set.
func (s Set) Contains(a netip.Addr) bool {
	i, ok := slices.BinarySearchFunc(s, a, func(sp Span, a netip.Addr) int { return sp.Lo.Compare(a) })
	return ok || i > 0 && !s[i-1].Hi.Less(a) && s[i-1].Lo.BitLen() == a.BitLen()
}

// Covers reports whether all addresses of o are in s.
func (s Set) Covers(o Set) bool {
	i := s.behind(o)
	for _, sp := range o {
		for i < len(s) && s[i].Hi.Less(sp.Hi) {
			i++
		}
		if i == len(s) || sp.Lo.Less(s[i].Lo) {
			return false
		}
	}
	return true
}

// String writes spans as "a" or "a-b".
func (s Set) String() string {
	var parts []string
	for _, sp := range s {
		if sp.Lo == sp.Hi {
			parts = append(parts, sp.Lo.String())
		} else {
			parts = append(parts, sp.Lo.String()+"-"+sp.Hi.String())
		}
	}
	return strings.Join(parts, ",")
}
