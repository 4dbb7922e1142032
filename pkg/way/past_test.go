// SPDX-License-Identifier: Apache-2.0

package way

import (
	"net/netip"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// What the node sends to ::1 is from ::1 too, and never gets to another machine or a pod.
func TestFromLoopback6(t *testing.T) {
	f := claimed()
	f.Kind, f.Who, f.Mapping.Family, f.Dst = finding.NATRule, "portmap", hostport.IPv6, addrset.All(false)
	for target, lost := range map[string]bool{"[fd00:88::2]:80": true, "[::1]:81": false} {
		f.Target = netip.MustParseAddrPort(target)
		m := model(t, "", routes{"- fd00:88::2 ": {Out: cni0}})
		ways, err := m.Ways(Query{Proto: hostport.TCP, To: netip.AddrPortFrom(netip.Addr{}, 8080)}, []netip.Addr{netip.IPv6Loopback()}, []Source{{Side: Self}}, Claims{walk.Link{}: {f}})
		if err != nil || len(ways) != 1 || (ways[0].Closed != nil) != lost {
			t.Errorf("%s: %v, %+v", target, err, ways)
		}
	}
}

// Answers to a neighbour of the pod go past the node where nobody masquerades what it sends.
func TestPastTheNode(t *testing.T) {
	for straight, lost := range map[bool]bool{true: true, false: false} {
		m := model(t, "", nil)
		m.Straight = func(f conflict.Finding, _ Source, to netip.Addr) bool {
			return straight && to == node && f.Who == claimed().Who
		}
		if c := closes(t, m, Pod, claimed()); (c != nil) != lost || c != nil && (c.Check != CheckAnswer || !c.Back || c.Remedy == "") {
			t.Errorf("straight %v: %+v", straight, c)
		}
		if c := closes(t, m, Outside, claimed()); c != nil {
			t.Errorf("from outside: %+v", c)
		}
	}
}
