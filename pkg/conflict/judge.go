// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/portmap"
	"github.com/portguard/portguard/pkg/walk"
)

// A site is a base chain as judge must know it.
type site struct {
	at Point
	// target is set for the table where ours would stand.
	target bool
	// passes are the destinations of which some packets get through the chain.
	passes addrset.Set
	// where prints the way to a rule and the rule itself.
	where func(walk.Path) string
}

func overlaps(a, b addrset.Set) bool { return len(a.And(b)) > 0 }

// judge says what a rule that translates the packets means for m. Order protects
// a Service's own address only in the table where ours would stand.
func judge(r *Report, m hostport.Mapping, path walk.Path, s site) {
	f := Finding{Mapping: m, Where: s.where(path), At: []Point{s.at}, Dst: path.Dst, Part: path.Match != walk.Yes && overlaps(path.Dst, s.passes)}
	if path.Match == walk.Unknown {
		if path.NamesPort() {
			f.Kind, f.Who = Undecodable, "a rule that cannot be decoded"
			f.Message = fmt.Sprintf("hostPort %s may be taken: a rule names it that portguard cannot decode: %s; remove that rule or choose another hostPort", m, f.Where)
			r.refuse(f)
		} else {
			f.Kind, f.Who = CatchAll, "a rule without a port"
			f.Message = fmt.Sprintf("hostPort %s: a rule without a port may take some of its traffic: %s; restrict that rule if it should not", m, f.Where)
			r.warn(f)
		}
		return
	}
	if svc, ok := serviceIP(path); ok && s.target {
		f.Kind, f.Who = ServiceIP, "Service "+svc
		f.Message = fmt.Sprintf("hostPort %s: Service %s has the same port on the node address %s; there the Service wins; choose another hostPort if it should not", m, svc, path.Dst)
		r.warn(f)
		return
	}
	if svc, ok := nodePort(path); ok {
		f.Kind, f.Who = NodePort, "Service "+svc+" (NodePort)"
		f.Message = fmt.Sprintf("hostPort %s is taken: it is a NodePort of Service %s; change the Service's nodePort or choose another hostPort", m, svc)
		r.refuse(f)
		return
	}
	who, has, remedy := taker(path)
	f.Kind, f.Who, f.Portmap = NATRule, who+", "+leads(path), portmapOwner(path)
	f.Message = fmt.Sprintf("hostPort %s is taken: %s (%s, %s); %s or choose another hostPort", m, has, leads(path), f.Where, remedy)
	r.refuse(f)
}

// where prints the way to a rule and the rule itself.
func (w *ruleWalk) where(i int, path walk.Path) string {
	rs, table := w.s.Rules[i], "nat"
	if strings.EqualFold(path.Last().Target, "tproxy") {
		table = "mangle"
	}
	return fmt.Sprintf("iptables-%s %s %s %s: %q", rs.Flavour, rs.Family, table, chains(path), path.Last().Text)
}

// chains are those of a path, in order.
func chains(path walk.Path) string {
	names := make([]string, 0, len(path.Hops))
	for _, h := range path.Hops {
		names = append(names, h.Chain)
	}
	return strings.Join(names, " > ")
}

// leads says where a rule sends packets, as far as it is known.
func leads(path walk.Path) string {
	if to := path.Last().To; to != "" {
		return path.Last().Target + " to " + to
	}
	return path.Last().Target
}

// taker names whose rule it is, by the chains the known tools use, says it in a
// sentence, and what to do about it.
func taker(path walk.Path) (who, has, remedy string) {
	remedy = "stop that container"
	if o := portmapOwner(path); o.ContainerID != "" {
		return "portmap for " + o.Short(), "portmap has it for " + o.Short(), remedy
	}
	for _, h := range path.Hops {
		switch {
		case strings.HasSuffix(h.Table, " docker-bridges"), h.Chain == "DOCKER":
			return "docker", "docker publishes it", remedy
		case strings.HasSuffix(h.Table, " netavark"):
			return "podman", "podman publishes it", remedy
		case h.Chain == "CNI-HOSTPORT-DNAT":
			return "portmap", "portmap has it for a container", remedy
		case OfCRIO(h.Chain):
			return "CRI-O", "CRI-O maps it", remedy
		}
	}
	return "a NAT rule", "a NAT rule has it", "remove that rule"
}

// OfCRIO reports whether a chain is that of CRI-O's own hostPorts.
func OfCRIO(chain string) bool {
	return chain == "KUBE-HOSTPORTS" || strings.HasPrefix(chain, "CRIO-HOSTPORTS")
}

// portmapOwner is the container for which portmap made the rule, if it did: in its
// comment, which is the container's ID with nftables, and with iptables
// dnat name: "NETWORK" id: "CONTAINER".
func portmapOwner(path walk.Path) hostport.Owner {
	for _, h := range path.Hops {
		switch {
		case strings.HasSuffix(h.Table, " cni_hostport"):
			return hostport.Owner{ContainerID: path.Last().Comment}
		case h.Chain == "CNI-HOSTPORT-DNAT":
			if o, ok := portmap.Owner(h.Comment); ok {
				return o
			}
		}
	}
	return hostport.Owner{}
}

// nodePort reads the Service from the comment kube-proxy puts on the rules of
// KUBE-NODEPORTS, "namespace/name:port", or in nftables mode from the chain that
// the map of NodePorts leads to.
func nodePort(path walk.Path) (string, bool) {
	for i, h := range path.Hops {
		switch {
		case ofIptables(h) && h.Chain == "KUBE-NODEPORTS":
			return serviceName(h.Comment), true
		case ofKubeProxy(h) && slices.Contains(h.Sets, "service-nodeports"):
			return serviceOfChain(path, i+1), true
		}
	}
	return "", false
}

// serviceIP recognises kube-proxy's rules for one address of a Service:
// "namespace/name:port loadbalancer IP", or the map of such addresses.
func serviceIP(path walk.Path) (svc string, ok bool) {
	for i, h := range path.Hops {
		switch {
		case ofIptables(h) && h.Chain == "KUBE-SERVICES" && strings.HasSuffix(h.Comment, " IP") && h.Specific:
			return serviceName(h.Comment), true
		case ofKubeProxy(h) && slices.Contains(h.Sets, "service-ips"):
			return serviceOfChain(path, i+1), true
		}
	}
	return "", false
}

// ofIptables: the rules of iptables-nft are walked as text or as nf_tables has
// them.
func ofIptables(h walk.Hop) bool { return h.Table == "" || h.Table == "ip nat" || h.Table == "ip6 nat" }

func ofKubeProxy(h walk.Hop) bool { return h.Table == "ip kube-proxy" || h.Table == "ip6 kube-proxy" }

// unnamed stands for the name of a Service that kube-proxy's rules do not tell.
const unnamed = "with an unknown name"

// serviceOfChain reads "namespace/name:port" from the name of a chain of
// kube-proxy's nftables mode, "external-HASH-namespace/name/protocol/port"
// (pkg/proxy/nftables/proxier.go, servicePortChainNameBase).
func serviceOfChain(path walk.Path, i int) string {
	if i >= len(path.Hops) {
		return unnamed
	}
	_, rest, _ := strings.Cut(path.Hops[i].Chain, "-")
	_, rest, _ = strings.Cut(rest, "-")
	f := strings.Split(rest, "/")
	switch {
	case len(f) < 3:
		return unnamed
	case len(f) == 4 && f[3] != "":
		return f[0] + "/" + f[1] + ":" + f[3]
	}
	return f[0] + "/" + f[1]
}

// serviceName takes "namespace/name[:port]" from the start of a comment.
func serviceName(comment string) string {
	name, _, _ := strings.Cut(comment, " ")
	if !strings.Contains(name, "/") {
		return unnamed
	}
	return name
}
