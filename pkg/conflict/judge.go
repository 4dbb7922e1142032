// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/portmap"
	"github.com/portguard/portguard/pkg/walk"
)

// A site is a base chain as judge must know it.
type site struct {
	at Point
	// base names whose it is.
	base string
	// behind is set if ours would stand behind all rules of the table, first if it would,
	// or may, come before them.
	behind, first bool
	// level is set if it is of the same priority, in another table: nobody can tell which is
	// asked first.
	level bool
	// passes are the destinations of which some packets get through the chain.
	passes addrset.Set
}

const leave = "choose another hostPort, or leave that address out with hostIP or excludeCIDRs"

func overlaps(a, b addrset.Set) bool { return len(a.And(b)) > 0 }

// judge says what a rule that translates the packets means for m. Order protects
// a Service's own address only where ours would stand behind it.
func (q query) judge(path walk.Path, s site) {
	f := Finding{Mapping: q.m, Where: q.where(path), At: []Point{s.at}, Base: s.base, Dst: path.Dst, Part: path.Match != walk.Yes && overlaps(path.Dst, s.passes)}
	ip, isIP := serviceIP(path)
	port, isPort := nodePort(path)
	switch {
	case path.Match == walk.Unknown && path.NamesPort() && path.Doubtful:
		f.Kind, f.Who = finding.Undecodable, "a rule for odd packets"
		f.say(q.removing(path)+" or choose another hostPort", "hostPort %s may be taken: a rule has it for odd packets, as with a mark that no rule sets: %s", q.m, f.Where)
	case path.Match == walk.Unknown && path.NamesPort():
		f.Kind, f.Who = finding.Undecodable, "a rule that cannot be decoded"
		f.say(q.removing(path)+" or choose another hostPort", "hostPort %s may be taken: portguard cannot decode a rule that names it: %s", q.m, f.Where)
	case path.Match == walk.Unknown && s.first && !path.Doubtful:
		f.Kind, f.Who = finding.Undecodable, "a rule that cannot be decoded"
		f.say(q.removing(path)+" or choose another hostPort", "hostPort %s may be taken: a rule that portguard cannot decide comes after its own, which would get the traffic first: %s", q.m, f.Where)
	case path.Match == walk.Unknown:
		f.Kind, f.Who = finding.CatchAll, "a rule without a port"
		f.say("restrict that rule if it should not, or "+strings.Replace(q.removing(path), "that rule", "it", 1), "hostPort %s: a rule without a port may take some of its traffic: %s", q.m, f.Where)
	case isIP && s.behind:
		f.Kind, f.Who = finding.ServiceIP, "Service "+ip
		f.say(f.Kind.Remedy(), "hostPort %s: Service %s has the same port on the node address %s; there the Service wins", q.m, ip, path.Dst)
	case isIP && s.level:
		f.Kind, f.Who = finding.NATRule, "Service "+ip
		f.say(leave, "hostPort %s is taken: Service %s has the same port on the node address %s, and nobody can tell which of the two would be asked first", q.m, ip, path.Dst)
	case isPort:
		f.Kind, f.Who = finding.NodePort, "Service "+port+" (NodePort)"
		f.say(f.Kind.Remedy(), "hostPort %s is taken: it is a NodePort of Service %s", q.m, port)
	default:
		q.natRule(&f, path)
	}
	f.Message += unlisted(path)
	q.r.add(f)
}

// unlisted says which sets were not listed, so that nobody knows whether the rule takes
// anything at all.
func unlisted(path walk.Path) string {
	var names []string
	for _, h := range path.Hops {
		names = append(names, h.Unlisted...)
	}
	if len(names) == 0 || path.Match == walk.Yes {
		return ""
	}
	slices.Sort(names)
	return fmt.Sprintf(" (portguard does not know what is in set %s: it lists none of more than %d elements, and no ipset with a netmask)", strings.Join(slices.Compact(names), ", "), nft.MaxListed)
}

// natRule says whose a rule is that is nothing else. Those that portmap left behind for a
// container that is gone are taken over.
func (q query) natRule(f *Finding, path walk.Path) {
	who, has, remedy := q.taker(path)
	f.Kind, f.Who = finding.NATRule, who+", "+leads(path)
	f.Target, _ = netip.ParseAddrPort(path.Last().To)
	f.say(remedy, "hostPort %s is taken: %s (%s, %s)", q.m, has, leads(path), f.Where)
	o, own := portmapOwner(path), q.a.Owner
	if o.ContainerID != "" && o.ContainerID == own.ContainerID && o.Network != "" && o.Network != own.Network {
		f.Conditional = true
		f.Message = fmt.Sprintf("hostPort %s: portmap has it for network %s of the same container; %s has it when that goes", q.m, o.Network, own.IfName)
	}
	for _, key := range deadOf(q.s.Claims, o) {
		f.Life = hostport.Dead
		q.r.takeOver(key)
	}
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
func (q query) taker(path walk.Path) (who, has, remedy string) {
	remedy = "stop that container or choose another hostPort"
	if o := portmapOwner(path); o.ContainerID != "" {
		whose := o.Short()
		if pod := podOf(q.s.Claims, o); pod != "" {
			whose, remedy = "pod "+pod+", "+whose, "delete it or choose another hostPort"
		}
		return "portmap for " + whose, "portmap has it for " + whose, remedy
	}
	for _, h := range path.Hops {
		switch {
		case h.Table.Name == "docker-bridges", h.Chain == "DOCKER":
			if name := q.container(path); name != "" {
				return "docker", "docker publishes it for container " + name, stopping(name)
			}
			return "docker", "docker publishes it", fmt.Sprintf("docker ps --filter publish=%d names the container; stop it or choose another hostPort", q.m.HostPort)
		case h.Table.Name == "netavark", h.Chain == "NETAVARK-HOSTPORT-DNAT":
			return "podman", "podman publishes it", fmt.Sprintf("podman ps --filter publish=%d names the container; stop it or choose another hostPort", q.m.HostPort)
		case h.Table.Name == "firewalld", h.Chain == "PREROUTING_ZONES", h.Chain == "PREROUTING_POLICIES": // the latter since 2.0
			return "firewalld", "firewalld forwards it", "firewall-cmd --list-all-zones shows the forward-port; take it out (--remove-forward-port) or choose another hostPort"
		case h.Chain == "CNI-HOSTPORT-DNAT":
			return "portmap", "portmap has it for a container", remedy
		case OfCRIO(h.Chain):
			return "CRI-O", "CRI-O maps it", remedy
		}
	}
	return "a NAT rule", "a NAT rule has it", q.ruleRemedy(path)
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
		case h.Table.Name == "cni_hostport":
			return hostport.Owner{ContainerID: path.Last().Comment}
		case h.Chain == "CNI-HOSTPORT-DNAT":
			if o, ok := portmap.Owner(h.Comment); ok {
				return o
			}
		}
	}
	return hostport.Owner{}
}
