// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/listener"
)

// dropUDP forgets the UDP flows of a's mappings: after ADD those that lead
// elsewhere, after DEL (gone) those that lead to the pod. Of what was found at
// ADD, the destinations at which a Service or an undecided rule translates are
// left to them.
func dropUDP(a hostport.Attachment, gone bool, found []conflict.Finding) error {
	if !hasUDP(a) {
		return nil
	}
	on, err := host.Addresses()
	if err != nil {
		return err
	}
	for _, f := range hostport.Families() {
		pod, ok := a.Pod(f)
		if !ok {
			continue
		}
		var stale []host.Stale
		for _, m := range a.Of(f) {
			if m.Proto != hostport.UDP {
				continue
			}
			s := host.Stale{Mapping: m, Dst: a.Destinations(on.Local, m), Pod: pod.Addr(), Gone: gone}
			if !gone {
				s.Others = othersAt(found, m)
				if s.Connected, err = listener.ConnectedUDP(m.HostPort); err != nil {
					return err
				}
			}
			stale = append(stale, s)
		}
		if err := host.DropUDP(f, stale); err != nil {
			return err
		}
	}
	return nil
}

func hasUDP(a hostport.Attachment) bool {
	return slices.ContainsFunc(a.Mappings, func(m hostport.Mapping) bool { return m.Proto == hostport.UDP })
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

// podPrefix is a pod's address alone.
func podPrefix(pod netip.Addr) netip.Prefix { return netip.PrefixFrom(pod, pod.BitLen()) }
