// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"net/netip"
	"slices"
	"sort"
)

// mostNetworks is how many networks an attachment knows of each family. Its record has
// them, and rules of its own.
const mostNetworks = 16

// Cover are networks that hold all of those, at most mostNetworks of a family. Where there
// are more, the nearest are one.
func Cover(networks []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range Families() {
		of := slices.DeleteFunc(slices.Clone(networks), func(p netip.Prefix) bool { return FamilyOf(p.Addr()) != f })
		if len(of) > mostNetworks {
			of = nearest(of)
		}
		out = append(out, of...)
	}
	return out
}

// nearest joins networks of one family. In their order, the fewer leading bits two have in
// common the further they are from each other: there the list is cut into groups.
func nearest(of []netip.Prefix) []netip.Prefix {
	sort.Slice(of, func(i, j int) bool { return of[i].Compare(of[j]) < 0 })
	cuts, near := make([]int, len(of)-1), make([]int, len(of)-1) // before of[i+1]
	for i := range cuts {
		cuts[i], near[i] = i, common(of[i], of[i+1]).Bits()
	}
	sort.SliceStable(cuts, func(i, j int) bool { return near[cuts[i]] < near[cuts[j]] })
	cuts = append(cuts[:mostNetworks-1:mostNetworks-1], len(of)-1)
	slices.Sort(cuts)
	var out []netip.Prefix
	from := 0
	for _, last := range cuts {
		group := of[from]
		for _, p := range of[from : last+1] {
			group = common(group, p)
		}
		if n := len(out); n == 0 || !out[n-1].Overlaps(group) {
			out = append(out, group)
		} else {
			out[n-1] = common(out[n-1], group)
		}
		from = last + 1
	}
	return out
}

// common is the smallest network that holds both.
func common(p, q netip.Prefix) netip.Prefix {
	bits := min(p.Bits(), q.Bits())
	for bits > 0 && !netip.PrefixFrom(p.Addr(), bits).Masked().Contains(q.Addr()) {
		bits--
	}
	return netip.PrefixFrom(p.Addr(), bits).Masked()
}
