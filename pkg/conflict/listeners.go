// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
)

func findListeners(r *Report, a hostport.Attachment, s Snapshot, m hostport.Mapping) {
	for _, l := range s.Listeners {
		if l.Proto != m.Proto || l.Port != m.HostPort || !l.Covers(m.Family) || l.Holder.Runtime {
			continue
		}
		if !l.Addr.IsUnspecified() {
			if !m.Wildcard() && l.Addr != m.HostIP {
				continue
			}
			if m.Wildcard() && spared(r, a, s, l) {
				continue
			}
		}
		if l.Proto == hostport.UDP && s.EphemeralFrom <= l.Port && l.Port <= s.EphemeralTo {
			r.warn(Ephemeral, m, fmt.Sprintf("hostPort %s: %s, which may be a mere client because the port is inside ip_local_port_range (%d-%d); "+
				"what it receives unasked now goes to the pod", m, l, s.EphemeralFrom, s.EphemeralTo))
			continue
		}
		r.refuse(Listener, m, fmt.Sprintf("hostPort %s is taken: %s; stop it or choose another hostPort", m, l))
	}
}

// spared reports whether a wildcard mapping leaves l its traffic: the mapping
// does not claim the address, or the address and port are carved out.
func spared(r *Report, a hostport.Attachment, s Snapshot, l hostport.Listener) bool {
	// Rules match local destinations only, which these never are.
	if l.Addr.IsMulticast() || slices.Contains(s.Broadcasts, l.Addr) {
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
	c := hostport.Carve{Addr: l.Addr, Proto: l.Proto, Port: l.Port}
	if !slices.Contains(r.Carves, c) {
		r.Carves = append(r.Carves, c)
	}
	return true
}

func findClaims(r *Report, a hostport.Attachment, s Snapshot, m hostport.Mapping) {
	for _, c := range s.Claims {
		if c.Key == a.Owner.Key() || !c.Mapping.Overlaps(m) {
			continue
		}
		if c.Dead {
			if !slices.Contains(r.TakeOver, c.Key) {
				r.TakeOver = append(r.TakeOver, c.Key)
			}
			continue
		}
		who := c.Owner.String()
		if c.Key == "" {
			who = "an element in portguard's table without the name of an owner"
		}
		r.refuse(Claimed, m, fmt.Sprintf("hostPort %s is taken: %s has hostPort %s; delete it or choose another hostPort", m, who, c.Mapping))
	}
}
