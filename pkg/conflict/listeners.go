// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
)

func findListeners(r *Report, a hostport.Attachment, s Snapshot, m hostport.Mapping) {
	for _, l := range s.Listeners {
		if l.Proto != m.Proto || l.Port != m.HostPort || !l.Covers(m.Family) || l.Holder.HoldsFor(a.Owner.ContainerID, a.Target(m)) {
			continue
		}
		f := Finding{Kind: finding.Listener, Mapping: m, Who: l.Who(), Where: l.Where(), At: both(Socket, 0), By: l.Device, Dst: listensAt(s, l, m.Family)}
		f.Groups = l.Proto == hostport.UDP && (l.Addr.IsUnspecified() || l.Addr.IsMulticast() || s.broadcast(l.Addr))
		if l.Bound { // it gets nothing yet
			f.At = nil
		}
		if !m.Wildcard() && !l.Meets(m.HostIP) {
			continue
		}
		if !l.Addr.IsUnspecified() {
			if !m.Wildcard() && l.Addr != m.HostIP {
				continue
			}
			if m.Wildcard() && spared(r, a, s, l) {
				f.Spared, f.Message = true, fmt.Sprintf("hostPort %s leaves this alone: %s", m, l)
				r.add(f)
				continue
			}
		}
		if owner, ok := heldFor(a, s, l, m); ok {
			f.Spared, f.Message = true, fmt.Sprintf("hostPort %s: %s, and holds the port for %s", m, l, owner)
			r.add(f)
			continue
		}
		if passed(r, s, l, m) {
			f.Spared, f.Message = true, fmt.Sprintf("hostPort %s leaves this alone: %s, and receives what comes in by %s", m, l, l.Device)
			r.add(f)
			continue
		}
		if (l.Proto == hostport.UDP || l.Bound) && s.ephemeral(l.Port) && !l.Kernel() {
			f.Kind = finding.Ephemeral
			f.Message = fmt.Sprintf("hostPort %s: %s, which may be a mere client because the port is inside ip_local_port_range (%d-%d); "+
				"what it receives unasked now goes to the pod; %s", m, l, s.EphemeralFrom, s.EphemeralTo, f.Kind.Remedy())
			r.add(f)
			continue
		}
		what := l.String()
		if l.Device != "" && !m.Wildcard() && l.Addr.IsUnspecified() {
			what = fmt.Sprintf("%s, which receives what comes in by %s for any address of the node", l, l.Device)
		}
		f.Proxy = l.Holder.OfDocker()
		f.say(listenerRemedy(l, m), "hostPort %s is taken: %s", m, what)
		r.add(f)
	}
}

// ephemeral reports whether the kernel gives a port to those who ask for any. Whoever has
// a reserved one has asked for it.
func (s Snapshot) ephemeral(port uint16) bool {
	reserved := slices.ContainsFunc(s.Reserved, func(r [2]uint16) bool { return r[0] <= port && port <= r[1] })
	return s.EphemeralFrom <= port && port <= s.EphemeralTo && !reserved
}

// broadcast reports whether an address is that of all machines of a network.
func (s Snapshot) broadcast(a netip.Addr) bool {
	return a == hostport.LimitedBroadcast() || slices.Contains(s.Broadcasts, a)
}

// heldFor is the live owner of a mapping in m's way for which a runtime keeps l open. The
// mapping is what stands in the way, and says so.
func heldFor(a hostport.Attachment, s Snapshot, l hostport.Listener, m hostport.Mapping) (hostport.Owner, bool) {
	for _, c := range s.Claims {
		if c.Life != hostport.Dead && c.Mapping.Overlaps(m) && !c.Apart(&a, m) && l.Holder.HoldsFor(c.Owner.ContainerID, c.Target) {
			return c.Owner, true
		}
	}
	return hostport.Owner{}, false
}

// listensAt are the local addresses at which l receives.
func listensAt(s Snapshot, l hostport.Listener, fam hostport.Family) (out addrset.Set) {
	if !l.Addr.IsUnspecified() {
		return addrset.Between(l.Addr, l.Addr)
	}
	return localSet(s, fam)
}

// localSet are the node's addresses of a family.
func localSet(s Snapshot, f hostport.Family) addrset.Set {
	var all []addrset.Set
	for _, l := range s.Local {
		if hostport.FamilyOf(l.Prefix.Addr()) == f {
			all = append(all, addrset.Of(l.Prefix))
		}
	}
	return addrset.Union(all...)
}

// spared reports whether a wildcard mapping leaves l its traffic: the mapping
// does not claim the address, or the address and port are carved out.
func spared(r *Report, a hostport.Attachment, s Snapshot, l hostport.Listener) bool {
	// Rules match local destinations only, which these never are.
	if l.Addr.IsMulticast() || s.broadcast(l.Addr) {
		return true
	}
	if a.Spared(hostport.FamilyOf(l.Addr)).Contains(l.Addr) {
		return true
	}
	for _, x := range s.Local {
		if x.Infrastructure != "" && x.Prefix.Contains(l.Addr) {
			return true
		}
	}
	if !l.Addr.IsLoopback() && !l.Addr.IsLinkLocalUnicast() {
		return false
	}
	r.carve(hostport.Carve{Addr: l.Addr, Proto: l.Proto, Port: l.Port})
	return true
}

// passed reports whether a mapping with a hostIP leaves l its traffic: what comes in by the
// link that it is bound to is carved out. The address must be on other links only. The node
// reaches those of IPv6 of the link itself by that link too (ipv6_rcv), and of its own packets
// the rules do not know the link.
func passed(r *Report, s Snapshot, l hostport.Listener, m hostport.Mapping) bool {
	if m.Wildcard() || l.Link == 0 {
		return false
	}
	elsewhere := false
	for _, x := range s.Local {
		if x.Prefix.Contains(m.HostIP) {
			if elsewhere = x.Link != 0 && x.Link != l.Link; !elsewhere {
				return false
			}
		}
	}
	if elsewhere {
		r.carve(hostport.Carve{Addr: m.HostIP, Proto: l.Proto, Port: l.Port, Link: l.Device})
	}
	return elsewhere
}
