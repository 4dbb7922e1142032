// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"net/netip"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// masqueraded are the elements for connections that would be answered past the
// node: hairpin and neighbours on the pod's network, or all with masqAll. The
// original destination tells a hostPort from a Service with the same port. Its
// intervals are few for a pod, however many ports it has: they cost a look-up each
// connection, and the kernel copies them for every change.
func masqueraded(a hostport.Attachment, f familyInfo, pod netip.Prefix) []nfttable.Element {
	var src netip.Prefix
	switch {
	case a.MasqAll:
		src = netip.PrefixFrom(f.family.Wildcard(), 0)
	case a.SNAT:
		src = pod.Masked()
	default:
		return nil
	}
	var dst []netip.Prefix
	of, wildcard := a.Of(f.family), false
	out := make([]nfttable.Element, 0, len(of)+len(a.Networks))
	for _, m := range of {
		out = append(out, nfttable.Element{Set: f.name("masquerade"), From: nfttable.Join(nfttable.AddrKey(pod.Addr()), portOf(m))})
		if wildcard = wildcard || m.Wildcard(); !m.Wildcard() {
			dst = append(dst, netip.PrefixFrom(m.HostIP, m.HostIP.BitLen()))
		}
	}
	for _, p := range a.Networks {
		if wildcard && hostport.FamilyOf(p.Addr()) == f.family {
			dst = append(dst, p.Masked())
		}
	}
	srcFrom, srcTo := nfttable.Ends(src)
	for _, d := range widest(dst) {
		from, to := nfttable.Ends(d)
		out = append(out, nfttable.Element{Set: f.name("neighbours"), From: nfttable.Join(from, srcFrom, nfttable.AddrKey(pod.Addr())),
			To: nfttable.Join(to, srcTo, nfttable.AddrKey(pod.Addr())), Comment: neighboursComment})
	}
	return out
}

// neighboursComment marks what all that is mapped to a pod's address shares: the
// address is one pod's, whoever had it before.
const neighboursComment = "portguard: neighbours"

// neighbour reads the pod of an element of the set neighbours.
func neighbour(s nfttable.Spec, e nfttable.Element) (pod netip.Addr, ok bool) {
	return addrIn(s, e, "neighbours", 2)
}

// neighbours reads the rest of such an element: the source network for which the pod is
// masqueraded, and one original destination.
func neighbours(s nfttable.Spec, e nfttable.Element) (src, dst netip.Prefix, ok bool) {
	set := s.Set(e.Set)
	from, ok1 := set.Parts(e.From)
	to, ok2 := set.Parts(e.To)
	if !ok1 || !ok2 {
		return src, dst, false
	}
	dst, ok1 = nfttable.Network(from[0], to[0])
	src, ok2 = nfttable.Network(from[1], to[1])
	return src, dst, ok1 && ok2
}

// addrIn reads a part of the key of an element of a set.
func addrIn(s nfttable.Spec, e nfttable.Element, set string, part int) (addr netip.Addr, ok bool) {
	if !strings.HasPrefix(e.Set, set) {
		return addr, false
	}
	key, ok := s.Set(e.Set).Part(e.From, part)
	if ok {
		addr, ok = netip.AddrFromSlice([]byte(key))
	}
	return addr, ok
}

// needed drops the intervals of pods that nothing is mapped to any more.
func needed(t *nfttable.Table) *nfttable.Table {
	stale := map[netip.Addr]bool{}
	for e := range t.All() {
		if pod, ok := neighbour(t.Spec, e); ok {
			stale[pod] = true
		}
	}
	for e := range t.All() {
		if len(stale) == 0 {
			break // as mostly soon: a pod may have thousands of ports
		}
		if pod, ok := addrIn(t.Spec, e, "masquerade", 0); ok {
			delete(stale, pod)
		}
	}
	if len(stale) == 0 {
		return t
	}
	return t.Without(func(e nfttable.Element) bool {
		pod, ok := neighbour(t.Spec, e)
		return ok && stale[pod]
	})
}
