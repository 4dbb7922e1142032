// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// Recover implements backend.State. What conditions say and where their mappings lead
// is not known. A one-address exclude cannot be told from a carve.
func (s *State) Recover(key hostport.Key) (a hostport.Attachment, ok bool) {
	seen := s.known()
	for _, e := range s.Table.Elements(func(e nfttable.Element) bool { return key != "" && seen.of(e).key == key }) {
		a.Owner, ok = seen.of(e).Owner, true
		s.recover(&a, e)
	}
	for _, name := range s.Table.Chains() {
		ok = ok || key != "" && strings.HasPrefix(name, chainPrefix(key))
	}
	for i := range a.Pods {
		s.recoverNetworks(&a, &a.Pods[i])
	}
	sort.Slice(a.Pods, func(i, j int) bool { return a.Pods[i].Compare(a.Pods[j]) < 0 })
	return a, ok
}

// recover adds what one of the attachment's elements says.
func (s *State) recover(a *hostport.Attachment, e nfttable.Element) {
	parts, whole := s.Table.Spec.Set(e.Set).Parts(e.From)
	if !whole {
		return
	}
	switch {
	case strings.HasPrefix(e.Set, "masquerade"):
		a.SNAT = true
		addPod(a, parts[0])
	case strings.HasPrefix(e.Set, "spared"):
		s.recoverSpared(a, e, parts)
	case strings.HasPrefix(e.Set, "connected"):
		local, _ := netip.AddrFromSlice(parts[0])
		peer, _ := netip.AddrFromSlice(parts[2])
		a.Flows = append(a.Flows, hostport.Flow{Local: netip.AddrPortFrom(local, nfttable.PortOf(parts[1])), Peer: netip.AddrPortFrom(peer, nfttable.PortOf(parts[3]))})
	case e.Set == setLinks:
		a.Localhost, a.Link = true, nfttable.LinkOf(parts[0])
		addPod(a, parts[2])
	case strings.HasPrefix(e.Set, "bylink"):
		if c, ok := s.carve(e); ok {
			a.Carves = append(a.Carves, c)
		}
	case e.Set == setLocalhost, byLink(e):
	default:
		m, to, ok := mapping(s.Table.Spec, e)
		if !ok {
			return
		}
		a.Mappings = append(a.Mappings, m)
		if to.IsValid() {
			addPod(a, to.Addr().AsSlice())
		}
		if _, mapped := s.localhostOf(e); e.Set == "ports4" && !mapped {
			// Without localhost it says nothing.
			a.Carves = append(a.Carves, localhostCarve(m))
		}
	}
}

func (s *State) recoverSpared(a *hostport.Attachment, e nfttable.Element, from [][]byte) {
	if e.To == e.From || e.To == "" {
		addr, _ := netip.AddrFromSlice(from[2])
		a.Carves = append(a.Carves, hostport.Carve{Addr: addr, Proto: hostport.Proto(from[0][0]), Port: nfttable.PortOf(from[1])})
		return
	}
	if to, ok := s.Table.Spec.Set(e.Set).Parts(e.To); ok {
		if p, ok := nfttable.Network(from[2], to[2]); ok && !slices.Contains(a.Excludes, p) {
			a.Excludes = append(a.Excludes, p)
		}
	}
}

func addPod(a *hostport.Attachment, addr []byte) {
	pod, _ := netip.AddrFromSlice(addr)
	if p := netip.PrefixFrom(pod, pod.BitLen()); !slices.Contains(a.Pods, p) {
		a.Pods = append(a.Pods, p)
	}
}

// recoverNetworks adds what the shared elements for a pod say: its network, and those
// of the node.
func (s *State) recoverNetworks(a *hostport.Attachment, pod *netip.Prefix) {
	addr := pod.Addr()
	for _, e := range s.Table.Elements(func(e nfttable.Element) bool {
		who, ok := neighbour(s.Table.Spec, e)
		return ok && who == addr
	}) {
		src, dst, ok := neighbours(s.Table.Spec, e)
		if !ok {
			continue
		}
		if src.Bits() == 0 {
			a.MasqAll = true
		} else if src.Contains(addr) {
			*pod = netip.PrefixFrom(addr, src.Bits())
		}
		if !slices.Contains(a.Networks, dst) {
			a.Networks = append(a.Networks, dst)
		}
	}
}
