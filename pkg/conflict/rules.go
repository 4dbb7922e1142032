// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"net/netip"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// noEndpoints is the chain of table filter in which kube-proxy rejects traffic
// for NodePorts that have no endpoints and therefore no rule in nat
// (kubernetes pkg/proxy/iptables/proxier.go).
const noEndpoints = "KUBE-EXTERNAL-SERVICES"

type ruleWalk struct {
	s      Snapshot
	nat    []*walk.Walker
	filter []*walk.Walker
}

func newRuleWalk(s Snapshot, isOurs func(string) bool) *ruleWalk {
	w := &ruleWalk{s: s}
	for _, rs := range s.Rules {
		w.nat = append(w.nat, walk.New(rs.Dump.Table("nat"), isOurs))
		w.filter = append(w.filter, walk.New(rs.Dump.Table("filter"), isOurs))
	}
	return w
}

// find walks all tables of m's family for every address m covers.
func (w *ruleWalk) find(r *Report, a hostport.Attachment, m hostport.Mapping) error {
	for i, rs := range w.s.Rules {
		if rs.Family != m.Family {
			continue
		}
		for _, h := range []walk.Hook{walk.Prerouting, walk.Output} {
			if err := w.hook(r, a, m, i, h); err != nil {
				return fmt.Errorf("%s table nat, %s: %w", rs.Flavour, h, err)
			}
		}
		if reachable(rs, noEndpoints) {
			if err := w.withoutEndpoints(r, a, m, i); err != nil {
				return fmt.Errorf("%s table filter: %w", rs.Flavour, err)
			}
		}
	}
	return nil
}

// hook asks one base chain for all covered addresses.
func (w *ruleWalk) hook(r *Report, a hostport.Attachment, m hostport.Mapping, i int, h walk.Hook) error {
	packets := w.packets(r, a, m, h)
	hidden := 0
	var by walk.Path
	for _, p := range packets {
		res, err := w.nat[i].Walk(string(h), p)
		if err != nil {
			return err
		}
		for _, path := range res.NAT {
			w.judge(r, m, i, path)
		}
		if path, ok := w.hides(i, h, res); ok {
			hidden++
			by = path
		}
	}
	if hidden == 0 {
		return nil
	}
	where := w.where(i, by)
	if hidden == len(packets) && h == walk.Prerouting {
		r.refuse(Hidden, m, fmt.Sprintf("hostPort %s would not work: a rule ends the walk before it: %s; remove that rule or restrict it", m, where))
		return nil
	}
	r.warn(Hidden, m, fmt.Sprintf("hostPort %s does not work for every address: a rule ends the walk before it: %s", m, where))
	return nil
}

// packets are the sets to follow: one for each local address that m covers.
func (w *ruleWalk) packets(r *Report, a hostport.Attachment, m hostport.Mapping, h walk.Hook) []walk.Packet {
	var out []walk.Packet
	add := func(ip netip.Addr, absent bool) {
		// A packet from the wire to 127.0.0.0/8 is dropped before nat.
		if h == walk.Prerouting && ip.IsLoopback() {
			return
		}
		out = append(out, walk.Packet{Hook: h, Proto: m.Proto, Dst: ip, Port: m.HostPort, Absent: absent})
	}
	if !m.Wildcard() {
		add(m.HostIP, !w.local(m.HostIP))
		return out
	}
	for _, la := range w.s.Addrs {
		if hostport.FamilyOf(la.Addr) == m.Family && a.Claims(la) && !carved(r, m, la.Addr) {
			add(la.Addr, false)
		}
	}
	return out
}

func (w *ruleWalk) local(ip netip.Addr) bool {
	for _, la := range w.s.Addrs {
		if la.Addr == ip {
			return true
		}
	}
	return ip.IsLoopback()
}

func carved(r *Report, m hostport.Mapping, ip netip.Addr) bool {
	for _, c := range r.Carves {
		if c.Addr == ip && c.Proto == m.Proto && c.Port == m.HostPort {
			return true
		}
	}
	return false
}

// hides returns the rule that certainly ends the walk before our jump. An
// ACCEPT in one table does not keep other tables from translating, so only the
// table in which ours would stand counts.
func (w *ruleWalk) hides(i int, h walk.Hook, res walk.Result) (walk.Path, bool) {
	if !w.s.Rules[i].Target {
		return walk.Path{}, false
	}
	place := w.nat[i].Place(string(h))
	for _, path := range res.End {
		if path.Match == walk.Yes && (place < 0 || path.Hops[0].Index < place) {
			return path, true
		}
	}
	return walk.Path{}, false
}

// withoutEndpoints looks for NodePorts that kube-proxy only rejects so far.
func (w *ruleWalk) withoutEndpoints(r *Report, a hostport.Attachment, m hostport.Mapping, i int) error {
	for _, p := range w.packets(r, a, m, walk.Prerouting) {
		res, err := w.filter[i].Walk(noEndpoints, p)
		if err != nil {
			return err
		}
		for _, path := range res.End {
			svc := serviceName(path.Last().Spec.Comment())
			if _, specific := path.Last().Spec.Option("-d"); specific {
				r.warn(ServiceIP, m, fmt.Sprintf("hostPort %s: Service %s has the node address %s as LoadBalancer or external IP and no endpoints now; it wins once it has some", m, svc, p.Dst))
				continue
			}
			r.refuse(NodePort, m, fmt.Sprintf("hostPort %s is taken: it is a NodePort of Service %s (without endpoints now); change the Service's nodePort or choose another hostPort", m, svc))
		}
	}
	return nil
}

// reachable reports whether any chain of table filter jumps to name: a switch
// of kube-proxy's mode leaves unused chains behind.
func reachable(rs Rules, name string) bool {
	for _, c := range rs.Dump.Table("filter").Chains() {
		if c.Policy == "" {
			continue
		}
		for _, ru := range c.Rules {
			if ru.Spec().Target == name {
				return true
			}
		}
	}
	return false
}
