// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// IPVS asks its virtual servers at the node's input (NF_IP_PRI_NAT_SRC - 2), before the BPF
// programs and the sockets: what a mapping has translated never gets there.
const (
	prioIPVS    = -2
	prioProgram = -1
)

// findServers looks for virtual servers of IPVS with an address of the node. A NodePort of
// kube-proxy's ipvs mode is one, and was found by its ipsets.
func (q query) findServers() error {
	for _, v := range slices.Concat(q.servers[q.m.HostPort], q.servers[0]) {
		if v.ByMark() || v.Proto != q.m.Proto || hostport.FamilyOf(v.Addr) != q.m.Family {
			continue
		}
		a := *q.a
		a.Carves = q.r.Carves
		dst := a.Destinations(q.s.Local, q.m).And(addrset.Between(v.Addr, v.Addr))
		if len(dst) == 0 || q.found(finding.NodePort) {
			continue
		}
		balanced, err := q.balanced(v)
		if err != nil {
			return err
		}
		if balanced {
			q.balances(v, dst)
			continue
		}
		q.server(v, dst, walk.Yes, false)
	}
	return nil
}

// marked looks for virtual servers that take packets by their mark, whatever their port.
func (w *way) marked() {
	for _, v := range w.servers[0] {
		if !v.ByMark() {
			continue
		}
		if match, dst, doubtful := w.left.Chosen(walk.Choice{Mark: v.Mark, Mask: ^uint32(0)}); match != walk.No {
			w.server(v, dst, match, doubtful)
		}
	}
}

// found reports whether somebody of a kind has refused the mapping, told whether that was the
// one of f: then whether it takes other packets too says nothing new.
func (q query) found(k finding.Kind) bool {
	return slices.ContainsFunc(q.r.Conflicts, func(f Finding) bool { return f.Kind == k && f.Mapping == q.m })
}

func (q query) told(f Finding) bool {
	return slices.ContainsFunc(q.r.Conflicts, func(o Finding) bool {
		return o.Kind == f.Kind && o.Mapping == f.Mapping && o.Who == f.Who && o.Where == f.Where
	})
}

// balanced reports whether kube-proxy has a virtual server for the LoadBalancer or external
// IP of a Service: its rules let such packets pass the mapping by.
func (q query) balanced(v hostport.VirtualServer) (bool, error) {
	if q.s.Sets == nil {
		return false, nil
	}
	prefix := map[hostport.Family]string{hostport.IPv4: "KUBE-", hostport.IPv6: "KUBE-6-"}[q.m.Family]
	for _, name := range []string{"LOAD-BALANCER", "EXTERNAL-IP", "EXTERNAL-IP-LOCAL"} {
		typ, err := q.s.Sets.SetType(prefix + name)
		if err != nil {
			return false, err
		}
		if typ == "" {
			continue
		}
		if has, err := q.s.Sets.SetHas(prefix+name, typ, v.Addr, v.Proto, v.Port); has || err != nil {
			return has, err
		}
	}
	return false, nil
}

// server says what a virtual server means for the mapping. The mapping would come first, so it
// refuses too where nobody can tell whether packets get the mark of the server, unless only
// those would that may well not exist.
func (q query) server(v hostport.VirtualServer, dst addrset.Set, match walk.Tri, doubtful bool) {
	f := Finding{Kind: finding.NodePort, Mapping: q.m, Who: serverName(v), At: both(Socket, prioIPVS), Dst: dst, Part: match != walk.Yes}
	const remedy = "ipvsadm -Ln shows it; remove it or choose another hostPort"
	switch {
	case match == walk.Unknown && q.told(f):
		return
	case match == walk.Unknown && doubtful:
		f.Conditional = true
		f.say(remedy, "hostPort %s: %s has packets with that mark, and whether any of its packets get it is not known", q.m, f.Who)
	case match == walk.Unknown:
		f.say(remedy, "hostPort %s may be taken: %s has packets with that mark, and portguard cannot tell which mark rules give its packets", q.m, f.Who)
	default:
		f.say(remedy, "hostPort %s is taken: %s has it", q.m, f.Who)
	}
	q.r.add(f)
}

// balances says what one means that has the LoadBalancer or external IP of a Service.
func (q query) balances(v hostport.VirtualServer, dst addrset.Set) {
	f := Finding{Kind: finding.ServiceIP, Mapping: q.m, Who: serverName(v), At: both(Translation, PrioIptables), Dst: dst}
	f.say(f.Kind.Remedy(), "hostPort %s: a Service has the same port on the node address %s (%s); there the Service wins", q.m, dst, f.Who)
	q.r.add(f)
}

func serverName(v hostport.VirtualServer) string { return "IPVS virtual server " + v.String() }
