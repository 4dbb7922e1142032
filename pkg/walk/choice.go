// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"github.com/portguard/portguard/pkg/addrset"
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
// taken, and the destinations. The last is doubtful if only packets would be that may well not
// exist.
func (s Space) Chosen(c Choice) (match Tri, dst addrset.Set, doubtful bool) {
	var certain, open []addrset.Set
	whole, doubtful := true, true
	for _, b := range s {
		taken, all, sure := c.of(b)
		switch {
		case len(taken.dst) == 0:
			whole = whole && b.doubtful
		case sure:
			whole = whole && all
			certain = append(certain, taken.dst)
		default:
			open, doubtful = append(open, taken.dst), doubtful && taken.doubtful
		}
	}
	switch {
	case len(certain) > 0 && whole && len(open) == 0:
		return Yes, addrset.Union(certain...), false
	case len(certain) > 0:
		return Some, addrset.Union(certain...), false
	case len(open) > 0:
		return Unknown, addrset.Union(open...), doubtful
	}
	return No, nil, false
}

// of are the packets of b that are taken; all is set if none to their destinations is
// left, sure if the answer does not depend on a mark that is not known.
func (c Choice) of(b box) (taken box, all, sure bool) {
	if len(b.dst) == 0 {
		return box{}, false, false
	}
	var conds []cond
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
	for i := range conds {
		x, rest := &conds[i], b
		left, _ := x.apply(&rest, true)
		some, certain := x.apply(&b, false)
		if !some {
			return box{}, false, false
		}
		all, sure = all && (!left || x.kind == onDst), sure && certain
	}
	return b, all, sure && !b.doubtful
}
