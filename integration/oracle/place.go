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

// attachment is that of a pod with the mapping.
func attachment(answer Answer) hostport.Attachment {
	m := answer.Mapping
	to := pod(m.Family)
	m.ContainerPort = to.Port()
	return hostport.Attachment{Owner: hostport.Owner{Network: "oracle", ContainerID: "pod", IfName: "eth0"},
		Pods: []netip.Prefix{netip.PrefixFrom(to.Addr(), to.Addr().BitLen())}, Mappings: []hostport.Mapping{m},
		SNAT: true, Localhost: true, Link: "eth0", Carves: answer.Carves, Flows: answer.Flows}
}

// Place installs an accepted mapping in portguard's table of nftables, sends all probes of its
// family again, asks for the node's own connections, and takes the table away. It returns how
// many packets went to the pod, and what went wrong: a packet of the mapping that does not, or
// another one that does.
func (w *World) Place(t lab.T, answer Answer, before []Probe) (routed int, wrong []string) {
	t.Helper()
	m, own, a := answer.Mapping, w.own(), attachment(answer)
	b := nftables.New(nftconn.Open(), hostport.Everywhere())
	if err := w.change(b, func(s backend.State) backend.State { return s.With(a) }); err != nil {
		t.Fatalf("place %s: %v", m, err)
	}
	cut := w.cut(own)
	after := w.Send(t, m.Family)
	if err := w.change(b, func(s backend.State) backend.State { return s.Without(a.Owner.Key()) }); err != nil {
		t.Fatalf("remove %s: %v", m, err)
	}
	before = slices.DeleteFunc(slices.Clone(before), func(p Probe) bool { return hostport.FamilyOf(p.Dst) != m.Family })
	if w.counts { // other packets are dropped now
		after, before = seen(after, before)
	}
	if w.halves && m.Proto == hostport.TCP { // what is left to the mapping goes anywhere
		after, before = slices.DeleteFunc(after, answer.covers), slices.DeleteFunc(before, answer.covers)
	}
	routed, wrong = misrouted(answer, pod(m.Family), before, after, w.behind)
	if w.behind && !w.lengths && !w.counts && !answer.Dead && !reached(answer, pod(m.Family), before, after) {
		wrong = append(wrong, fmt.Sprintf("%s was accepted, but the pod gets nothing from outside", m))
	}
	return routed, append(cut, wrong...)
}

// reached reports whether the pod gets some of the packets from outside that got through before, if
// there were some.
func reached(a Answer, pod netip.AddrPort, before, after []Probe) bool {
	came := false
	for i, p := range after {
		if !p.FromNode && a.covers(p) && before[i].Seen {
			if came = true; p.Seen && p.To == pod {
				return true
			}
		}
	}
	return !came
}

// change changes what a backend has on the node.
func (w *World) change(b backend.Backend, to func(backend.State) backend.State) (err error) {
	w.Node.Do(func() {
		var have backend.State
		if have, err = b.Load(); err == nil {
			err = b.Apply(have, to(have))
		}
	})
	return err
}

// misrouted compares what became of the probes with what should. Those that were
// dropped before are dropped by a rule, some behind the mapping if there are rules for that, and rules behind the mapping may write into what
// goes to the pod; what comes from loopback may have no way
// to the pod.
func misrouted(a Answer, pod netip.AddrPort, before, after []Probe, behind bool) (routed int, wrong []string) {
	for i, p := range after {
		mine := p.Seen && p.To == pod
		if mine {
			routed++
		}
		switch {
		case a.Dead && mine && !p.FromNode:
			wrong = append(wrong, fmt.Sprintf("%s was refused, but the pod gets %s: %s", a.Mapping, p, a.Says))
		case a.Dead, behind && !p.Seen:
		case a.covers(p) && before[i].Seen && !mine && p.To.Port() != rewritten && (p.Seen || !p.Src.IsLoopback()):
			wrong = append(wrong, fmt.Sprintf("%s was accepted, but %s goes to %s (seen %t)", a.Mapping, p, p.To, p.Seen))
		case !a.covers(p) && mine:
			wrong = append(wrong, fmt.Sprintf("%s takes %s", a.Mapping, p))
		}
	}
	return routed, wrong
}

// seen are the probes that got through both times.
func seen(after, before []Probe) (a, b []Probe) {
	for i := range after {
		if after[i].Seen && before[i].Seen {
			a, b = append(a, after[i]), append(b, before[i])
		}
	}
	return a, b
}
