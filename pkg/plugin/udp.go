// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
)

// flows are the UDP flows of an attachment: after ADD those that lead elsewhere, after DEL
// (gone) those that lead to the pod. Of what was found at ADD, the destinations at which a
// Service or an undecided rule translates are left to them.
type flows struct {
	of    hostport.Attachment
	gone  bool
	found []conflict.Finding
}

// dropUDP forgets flows, of many attachments in one go: the kernel goes through all that it
// knows each time. The rules are right by then, so a failure is a warning.
func (s *Session) dropUDP(all ...flows) {
	for _, f := range hostport.Families() {
		var stale []host.Stale
		for _, x := range all {
			stale = append(stale, s.stale(x.of, f, x.gone, x.found)...)
		}
		if len(stale) > 0 {
			s.warnOf(s.Node.DropUDP(f, stale), CodeApply)
		}
	}
}

// stale are the flows of one family that have to be forgotten.
func (s *Session) stale(a hostport.Attachment, f hostport.Family, gone bool, found []conflict.Finding) []host.Stale {
	var out []host.Stale
	pod, ok := a.Pod(f)
	for _, m := range a.Of(f) {
		if !ok || m.Proto != hostport.UDP {
			continue
		}
		x := host.Stale{Mapping: m, Dst: a.Destinations(s.On.Local, m), Pod: pod.Addr(), Gone: gone}
		if !gone {
			x.Dst, x.Others = x.Dst.And(s.within()[f]), othersAt(found, m)
			for _, f := range a.Flows {
				x.Connected = append(x.Connected, f.Peer)
			}
		}
		out = append(out, x)
	}
	return out
}

// othersAt are the destinations at which somebody else translates m's port.
func othersAt(found []conflict.Finding, m hostport.Mapping) addrset.Set {
	var out addrset.Set
	for _, x := range found {
		if x.Mapping == m && x.Kind.Translates() {
			out = out.Or(x.Dst)
		}
	}
	return out
}
