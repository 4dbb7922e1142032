// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/nftables"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nftconn"
)

// pod is where a placed mapping leads.
func pod(f hostport.Family) netip.AddrPort {
	if f == hostport.IPv4 {
		return netip.MustParseAddrPort("203.0.113.200:7777")
	}
	return netip.MustParseAddrPort("[2001:db8:9::200]:7777")
}

// Place installs an accepted mapping in portguard's table of nftables, sends all
// probes of its family again, takes the table away, and returns how many went to the pod, and what
// went wrong: a packet of the mapping that does not, or another one that does.
func (w *World) Place(t lab.T, m hostport.Mapping, before []Probe) (routed int, wrong []string) {
	t.Helper()
	to := pod(m.Family)
	m.ContainerPort = to.Port()
	a := hostport.Attachment{Owner: hostport.Owner{Network: "oracle", ContainerID: "pod", IfName: "eth0"},
		Pods: []netip.Prefix{netip.PrefixFrom(to.Addr(), to.Addr().BitLen())}, Mappings: []hostport.Mapping{m},
		SNAT: true, Localhost: true, Link: "eth0"}
	if err := w.change(func(s backend.State) backend.State { return s.With(a) }); err != nil {
		t.Fatalf("place %s: %v", m, err)
	}
	after := w.Send(t, m.Family)
	if err := w.change(func(s backend.State) backend.State { return s.Without(a.Owner.Key()) }); err != nil {
		t.Fatalf("remove %s: %v", m, err)
	}
	before = slices.DeleteFunc(slices.Clone(before), func(p Probe) bool { return hostport.FamilyOf(p.Dst) != m.Family })
	return misrouted(m, to, before, after)
}

// change changes what portguard's table has.
func (w *World) change(to func(backend.State) backend.State) (err error) {
	w.Node.Do(func() {
		b := nftables.New(nftconn.Open(), hostport.Everywhere())
		var have backend.State
		if have, err = b.Load(); err == nil {
			err = b.Apply(have, to(have))
		}
	})
	return err
}

// misrouted compares what became of the probes with what should. Those that were
// dropped before are dropped by a rule; what comes from loopback may have no way
// to the pod.
func misrouted(m hostport.Mapping, pod netip.AddrPort, before, after []Probe) (routed int, wrong []string) {
	for i, p := range after {
		mine := p.Seen && p.To == pod
		if mine {
			routed++
		}
		switch {
		case covers(m, p) && before[i].Seen && !mine && (p.Seen || !p.Src.IsLoopback()):
			wrong = append(wrong, fmt.Sprintf("%s was accepted, but %s goes to %s (seen %t)", m, p, p.To, p.Seen))
		case !covers(m, p) && mine:
			wrong = append(wrong, fmt.Sprintf("%s takes %s", m, p))
		}
	}
	return routed, wrong
}
