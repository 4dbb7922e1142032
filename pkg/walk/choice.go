// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// A Choice is what something that is no rule of netfilter takes of packets: a rule of policy
// routing, or a virtual server of IPVS. What is zero does not restrict it.
type Choice struct {
	Dst, Src addrset.Set
	// In is the link that the packets come by.
	In         string
	Mark, Mask uint32
}

// Chosen tells whether all of some destinations' packets, some of them, or perhaps some are
// taken, and the destinations.
func (s Space) Chosen(c Choice) (Tri, addrset.Set) {
	var certain, open []addrset.Set
	whole := true
	for _, b := range s {
		taken, all, sure := c.of(b)
		switch {
		case len(taken) == 0:
			whole = whole && b.doubtful
		case sure:
			whole = whole && all
			certain = append(certain, taken)
		default:
			open = append(open, taken)
		}
	}
	switch {
	case len(certain) > 0 && whole && len(open) == 0:
		return Yes, addrset.Union(certain...)
	case len(certain) > 0:
		return Some, addrset.Union(certain...)
	case len(open) > 0:
		return Unknown, addrset.Union(open...)
	}
	return No, nil
}

// of are the destinations of which packets of b are taken; all is set if none of those is
// left, sure if the answer does not hang on a mark that is not known.
func (c Choice) of(b box) (taken addrset.Set, all, sure bool) {
	if len(b.dst) == 0 {
		return nil, false, false
	}
	f, conds := hostport.FamilyOf(b.dst[0].Lo), []cond(nil)
	if len(c.Dst) > 0 {
		conds = append(conds, cond{kind: onDst, addrs: c.Dst})
	}
	if len(c.Src) > 0 {
		conds = append(conds, cond{kind: onSrc, addrs: c.Src})
	}
	if c.In != "" {
		conds = append(conds, cond{kind: onIn, in: c.In})
	}
	if c.Mask != 0 {
		conds = append(conds, cond{kind: onMark, value: c.Mark, mask: c.Mask})
	}
	all, sure = true, true
	for _, x := range conds {
		_, left, _ := x.apply(b, true, f)
		out, some, certain := x.apply(b, false, f)
		if !some {
			return nil, false, false
		}
		all, sure = all && (!left || x.kind == onDst), sure && certain
		b = out
	}
	return b.dst, all, sure && !b.doubtful
}
