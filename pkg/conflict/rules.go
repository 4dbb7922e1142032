// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// noEndpoints is the chain of table filter in which kube-proxy rejects traffic
// for NodePorts that have no endpoints and therefore no rule in nat
// (kubernetes pkg/proxy/iptables/proxier.go).
const noEndpoints = "KUBE-EXTERNAL-SERVICES"

type ruleWalk struct {
	s      Snapshot
	isOurs func(string) bool
	nat    []*walk.Walker
	filter []*walk.Walker
	mangle []*walk.Walker
	native map[string]*walk.Walker
	local  map[hostport.Family]addrset.Set
}

func newRuleWalk(s Snapshot, isOurs func(string) bool) *ruleWalk {
	w := &ruleWalk{s: s, isOurs: isOurs, native: map[string]*walk.Walker{}, local: map[hostport.Family]addrset.Set{}}
	for _, l := range s.Local {
		f := hostport.FamilyOf(l.Prefix.Addr())
		w.local[f] = w.local[f].Or(addrset.Of(l.Prefix))
	}
	for _, rs := range s.Rules {
		o := walk.Options{Family: rs.Family, NFT: rs.Flavour == "nft", Skip: isOurs, Sets: s.Sets}
		w.nat = append(w.nat, walk.New(rs.Dump.Table("nat"), o))
		w.filter = append(w.filter, walk.New(rs.Dump.Table("filter"), o))
		w.mangle = append(w.mangle, walk.New(rs.Dump.Table("mangle"), o))
	}
	return w
}

// find walks all tables of m's family for the addresses m covers.
func (w *ruleWalk) find(r *Report, a hostport.Attachment, m hostport.Mapping) error {
	for i, rs := range w.s.Rules {
		if rs.Family != m.Family || rs.Part {
			continue
		}
		for _, h := range []walk.Hook{walk.Prerouting, walk.Output} {
			if err := w.hook(r, a, m, i, h); err != nil {
				return fmt.Errorf("iptables-%s %s nat %s: %w", rs.Flavour, rs.Family, h, err)
			}
		}
		if err := w.findIPVS(r, a, m, i); err != nil {
			return err
		}
		if reachable(rs, noEndpoints) {
			if err := w.withoutEndpoints(r, a, m, i); err != nil {
				return fmt.Errorf("iptables-%s %s filter: %w", rs.Flavour, rs.Family, err)
			}
		}
	}
	return nil
}

// hook asks one base chain.
func (w *ruleWalk) hook(r *Report, a hostport.Attachment, m hostport.Mapping, i int, h walk.Hook) error {
	p, ok := w.packets(r, a, m, h)
	if !ok {
		return nil
	}
	res, err := w.nat[i].Walk(string(h), p)
	if err != nil {
		return err
	}
	if h == walk.Prerouting {
		tproxy, err := w.mangle[i].Walk(string(h), p)
		if err != nil {
			return err
		}
		res.NAT = append(res.NAT, onlyTproxy(tproxy.NAT)...)
	}
	at := site{at: Point{h, Translation, PrioIptables}, passes: res.Passed, target: w.s.Rules[i].Target || w.s.Last,
		where: func(path walk.Path) string { return w.where(i, path) }}
	for _, path := range res.NAT {
		here := at
		if strings.EqualFold(path.Last().Target, "tproxy") {
			here.at.Priority = prioMangle
		}
		judge(r, m, path, here)
	}
	// An ACCEPT in one table does not keep other tables from translating, so
	// only the table in which ours would stand counts.
	if w.s.Rules[i].Target && len(res.NAT) == 0 {
		reached(r, m, p, res, at)
	}
	return nil
}

// onlyTproxy drops what a table of type filter cannot do.
func onlyTproxy(paths []walk.Path) []walk.Path {
	return slices.DeleteFunc(paths, func(p walk.Path) bool { return !strings.EqualFold(p.Last().Target, "tproxy") })
}

// reached looks whether the packets get to where our jump is or would be.
func reached(r *Report, m hostport.Mapping, p walk.Packet, res walk.Result, s site) {
	certain := slices.DeleteFunc(res.End, func(path walk.Path) bool { return path.Match == walk.Unknown })
	if len(certain) == 0 {
		return
	}
	f := Finding{Kind: Hidden, Mapping: m, Who: "a rule that ends the walk", Where: s.where(certain[0]), At: []Point{s.at}, Dst: certain[0].Dst}
	// Only the node itself gets to a loopback address.
	if len(res.Reached) == 0 && (p.Hook == walk.Prerouting || m.HostIP.IsLoopback()) {
		f.Message = fmt.Sprintf("hostPort %s would not work: a rule ends the walk before it: %s; remove that rule or restrict it", m, f.Where)
		r.refuse(f)
		return
	}
	f.Message = fmt.Sprintf("hostPort %s does not work for everybody: a rule ends the walk of some packets before it: %s; remove that rule or restrict it", m, f.Where)
	r.warn(f)
}

// packets is the set to follow: to the local addresses that m covers. Nothing
// that arrives from the wire for 127.0.0.0/8 gets to nat.
func (w *ruleWalk) packets(r *Report, a hostport.Attachment, m hostport.Mapping, h walk.Hook) (walk.Packet, bool) {
	a.Carves = r.Carves
	from := w.s.From
	p := walk.Packet{Hook: h, Proto: m.Proto, Port: m.HostPort, Dst: a.Destinations(w.s.Local, m), Local: w.local[m.Family], Src: from.Src.Only(m.Family == hostport.IPv4), NotIn: from.NotIn}
	if from.Hook != "" && from.Hook != h {
		return p, false
	}
	if !m.Wildcard() {
		p.Absent = !slices.ContainsFunc(w.s.Local, func(l hostport.Local) bool { return l.Prefix.Contains(m.HostIP) })
	}
	if h == walk.Prerouting && m.Family == hostport.IPv4 {
		p.Dst = p.Dst.And(addrset.Of(netip.MustParsePrefix("127.0.0.0/8")).Not(true))
	}
	return p, len(p.Dst) > 0
}

// withoutEndpoints looks for NodePorts that kube-proxy only rejects so far.
func (w *ruleWalk) withoutEndpoints(r *Report, a hostport.Attachment, m hostport.Mapping, i int) error {
	p, ok := w.packets(r, a, m, walk.Prerouting)
	if !ok {
		return nil
	}
	res, err := w.filter[i].Walk(noEndpoints, p)
	if err == nil {
		rejected(r, m, res)
	}
	return err
}

// rejected reports the Services whose traffic kube-proxy rejects.
func rejected(r *Report, m hostport.Mapping, res walk.Result) {
	for _, path := range res.End {
		svc := serviceName(path.Last().Comment)
		if path.Last().Specific {
			r.warn(Finding{Kind: ServiceIP, Mapping: m, Who: "Service " + svc + " (without endpoints)", At: both(Rejection, 0), Dst: path.Dst,
				Message: fmt.Sprintf("hostPort %s: Service %s has the node address %s as LoadBalancer or external IP and no endpoints now; it wins once it has some; choose another hostPort if it should not", m, svc, path.Dst)})
			continue
		}
		withoutEndpoints(r, m, path, svc)
	}
}

func withoutEndpoints(r *Report, m hostport.Mapping, path walk.Path, svc string) {
	r.refuse(Finding{Kind: NodePort, Mapping: m, Who: "Service " + svc + " (NodePort without endpoints)", At: both(Rejection, 0), Dst: path.Dst,
		Message: fmt.Sprintf("hostPort %s is taken: it is a NodePort of Service %s (without endpoints now); change the Service's nodePort or choose another hostPort", m, svc)})
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
