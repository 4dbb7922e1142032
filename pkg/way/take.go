// SPDX-License-Identifier: Apache-2.0

package way

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// take finds who has the packets: the first that takes all of them. It returns the point at
// which that one is asked.
func (w *Way) take(found []conflict.Finding) (at conflict.Point) {
	var ended *conflict.Finding
	for i, f := range found {
		p := slices.IndexFunc(f.At, func(p conflict.Point) bool { return p.Hook == w.Source.Side.hook() })
		if p < 0 || f.Mapping.Family != hostport.FamilyOf(w.To) || !f.Dst.Contains(w.To) {
			continue
		}
		comes, sure := w.Source.comes(f)
		switch {
		case !comes, f.Cut.Off(w.Source.Side == Self, w.To):
			continue
		case f.Kind == finding.Hidden:
			ended = &found[i]
			continue
		case ended != nil && f.Kind == finding.Claimed && slices.Contains(ended.At, f.At[p]):
			continue // an ACCEPT ends the walk of its own table
		case !sure, f.Part, f.Kind == finding.Undecodable, f.Kind == finding.CatchAll, level(f, found[i+1:], w.To):
			w.Unless = append(w.Unless, f)
			continue
		}
		w.Taker, w.Ended = &found[i], f.Life == hostport.Dead || f.At[p].Stage == conflict.Rejection
		return f.At[p]
	}
	return conflict.Point{}
}

// comes reports whether packets come in by a link of which a claimant has them, and whether
// that is sure: what the node sends to itself comes by lo, or, of IPv6, as by the link that has
// the address.
func (s Source) comes(f conflict.Finding) (comes, sure bool) {
	switch own := s.Side == Self; {
	case own && f.By != "" && f.By != "lo":
		return f.Mapping.Family == hostport.IPv6, false
	case own, s.Link.Name == "":
		return true, own || f.By == ""
	}
	return (f.By == "" || f.By == s.Link.Name) && !slices.Contains(f.NotBy, s.Link.Name), true
}

// level reports whether a mapping of those that come after a claimant may be asked before it.
func level(f conflict.Finding, rest []conflict.Finding, to netip.Addr) bool {
	return slices.ContainsFunc(rest, func(o conflict.Finding) bool {
		return o.Kind == finding.Claimed && o.Life != hostport.Dead && o.Dst.Contains(to) && f.Level(o)
	})
}

// Sorted are findings in the order of the points at which they are asked at a hook, or at
// any. At one point a mapping of portguard's is behind the rules, and one for a single
// address before one for all.
func Sorted(found []conflict.Finding, hook walk.Hook) []conflict.Finding {
	found = slices.Clone(found)
	first := func(f conflict.Finding) conflict.Point {
		at := slices.DeleteFunc(slices.Clone(f.At), func(p conflict.Point) bool { return hook != "" && p.Hook != hook })
		if len(at) == 0 {
			return conflict.Point{}
		}
		return slices.MinFunc(at, conflict.Point.Compare)
	}
	rank := func(f conflict.Finding) int {
		switch {
		case f.Kind != finding.Claimed:
			return 0
		case len(f.Dst) == 1 && f.Dst[0].Lo == f.Dst[0].Hi:
			return 1
		}
		return 2
	}
	sort.SliceStable(found, func(i, j int) bool {
		a, b := found[i], found[j]
		return cmp.Or(first(a).Compare(first(b)), cmp.Compare(rank(a), rank(b))) < 0
	})
	return found
}
