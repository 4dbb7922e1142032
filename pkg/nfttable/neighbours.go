// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"bytes"
	"maps"
	"net/netip"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
)

// masqueraded are the elements for connections that would be answered past the
// node: hairpin and neighbours on the pod's network, or all with masqAll. The
// original destination tells a hostPort from a Service with the same port. Its
// intervals are few for a pod, however many ports it has: they cost a look-up each
// connection, and the kernel copies them for every change.
func masqueraded(a hostport.Attachment, f familyInfo, pod netip.Prefix) []Element {
	var src netip.Prefix
	switch {
	case a.MasqAll:
		src = netip.PrefixFrom(f.family.Wildcard(), 0)
	case a.SNAT:
		src = pod.Masked()
	default:
		return nil
	}
	var out []Element
	var dst []netip.Prefix
	for _, m := range a.Of(f.family) {
		out = append(out, Element{Set: f.name("masquerade"), From: join(addrKey(pod.Addr()), protoKey(m.Proto), portKey(m.HostPort))})
		if m.Wildcard() {
			dst = append(dst, wildcardNetworks(a, f.family)...)
		} else {
			dst = append(dst, netip.PrefixFrom(m.HostIP, m.HostIP.BitLen()))
		}
	}
	srcFrom, srcTo := ends(src)
	for _, d := range widest(dst) {
		from, to := ends(d)
		out = append(out, Element{Set: f.name("neighbours"), From: join(from, srcFrom, addrKey(pod.Addr())), To: join(to, srcTo, addrKey(pod.Addr())), Comment: neighboursComment})
	}
	return out
}

func wildcardNetworks(a hostport.Attachment, f hostport.Family) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range a.Networks {
		if hostport.FamilyOf(p.Addr()) == f {
			all = append(all, p.Masked())
		}
	}
	return widest(all)
}

// neighboursComment marks what all that is mapped to a pod's address shares: the
// address is one pod's, whoever had it before.
const neighboursComment = "portguard: neighbours"

// isNeighbours reports whether e is an interval for a pod, and which pod that is.
func isNeighbours(e Element) (pod string, ok bool) {
	if !strings.HasPrefix(e.Set, "neighbours") {
		return "", false
	}
	s, _ := spec(e.Set)
	parts, ok := s.parts(e.From)
	if !ok {
		return "", false
	}
	return string(parts[2]), true
}

// makeRoom drops the intervals that e would overlap, those of a pod that had the
// address when the node had other networks.
func (t *Table) makeRoom(e Element) {
	if _, ok := isNeighbours(e); !ok {
		return
	}
	maps.DeleteFunc(t.elements, func(k string, o Element) bool {
		return o.Set == e.Set && k != e.key() && overlapping(o, e)
	})
}

// overlapping compares the intervals of two elements, part by part.
func overlapping(a, b Element) bool {
	s, _ := spec(a.Set)
	aFrom, _ := s.parts(a.From)
	aTo, _ := s.parts(a.To)
	bFrom, _ := s.parts(b.From)
	bTo, _ := s.parts(b.To)
	for i := range s.key {
		if i >= len(aTo) || i >= len(bTo) || bytes.Compare(aTo[i], bFrom[i]) < 0 || bytes.Compare(bTo[i], aFrom[i]) < 0 {
			return false
		}
	}
	return true
}

// dropNeighbours removes the intervals of pods that nothing is mapped to any more.
// That is known only of a whole table.
func (t *Table) dropNeighbours() {
	if !t.Whole {
		return
	}
	used := map[string]bool{}
	for _, e := range t.elements {
		if s, _ := spec(e.Set); strings.HasPrefix(e.Set, "masquerade") {
			if parts, ok := s.parts(e.From); ok {
				used[string(parts[0])] = true
			}
		}
	}
	maps.DeleteFunc(t.elements, func(_ string, e Element) bool {
		pod, ok := isNeighbours(e)
		return ok && !used[pod]
	})
}
