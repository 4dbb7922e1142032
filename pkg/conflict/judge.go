// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// judge says what a rule that translates the packets means for m.
func (w *ruleWalk) judge(r *Report, m hostport.Mapping, i int, path walk.Path) {
	where := w.where(i, path)
	if path.Match == walk.Unknown {
		if path.NamesPort() {
			r.refuseOf(Undecodable, m, path.Dst, fmt.Sprintf("hostPort %s may be taken: a rule names it that portguard cannot decode: %s; remove that rule or choose another hostPort", m, where))
		} else {
			r.warnOf(CatchAll, m, path.Dst, fmt.Sprintf("hostPort %s: a rule without a port may take some of its traffic: %s", m, where))
		}
		return
	}
	if svc, ok := serviceIP(path); ok && w.s.Rules[i].Target {
		r.warnOf(ServiceIP, m, path.Dst, fmt.Sprintf("hostPort %s: Service %s has the same port on the node address %s; there the Service wins", m, svc, path.Dst))
		return
	}
	if svc, ok := nodePort(path); ok {
		r.refuseOf(NodePort, m, path.Dst, fmt.Sprintf("hostPort %s is taken: it is a NodePort of Service %s; change the Service's nodePort or choose another hostPort", m, svc))
		return
	}
	r.refuseOf(NATRule, m, path.Dst, fmt.Sprintf("hostPort %s is taken: %s; remove that rule or choose another hostPort", m, w.taker(path, where)))
}

// where prints the way to a rule and the rule itself.
func (w *ruleWalk) where(i int, path walk.Path) string {
	chains := make([]string, 0, len(path.Hops))
	for _, h := range path.Hops {
		chains = append(chains, h.Chain)
	}
	rs := w.s.Rules[i]
	return fmt.Sprintf("iptables-%s %s nat %s: %q", rs.Flavour, rs.Family, strings.Join(chains, " > "), path.Last().Text)
}

// taker names whose rule it is, by the chains the known tools use.
func (w *ruleWalk) taker(path walk.Path, where string) string {
	last := path.Last()
	to := last.Spec.Target
	if d := last.Spec.ToDestination(); d != "" {
		to += " to " + d
	}
	for _, h := range path.Hops {
		switch {
		case h.Chain == "CNI-HOSTPORT-DNAT":
			return fmt.Sprintf("portmap has it for %s (%s, %s)", portmapOwner(h.Spec.Comment()), to, where)
		case h.Chain == "DOCKER":
			return fmt.Sprintf("docker publishes it (%s, %s)", to, where)
		case h.Chain == "KUBE-HOSTPORTS" || strings.HasPrefix(h.Chain, "CRIO-HOSTPORTS"):
			return fmt.Sprintf("CRI-O maps it (%s, %s)", to, where)
		}
	}
	return fmt.Sprintf("a NAT rule has it (%s, %s)", to, where)
}

// portmapOwner reads portmap's comment: dnat name: "NETWORK" id: "CONTAINER".
func portmapOwner(comment string) string {
	f := regexp.MustCompile(`name: "([^"]*)" id: "([^"]*)`).FindStringSubmatch(comment)
	if f == nil {
		return "a container"
	}
	return hostport.Owner{Network: f[1], ContainerID: f[2]}.Short()
}

// nodePort reads the Service from the comment kube-proxy puts on the rules of
// KUBE-NODEPORTS: "namespace/name:port".
func nodePort(path walk.Path) (string, bool) {
	for _, h := range path.Hops {
		if h.Chain == "KUBE-NODEPORTS" {
			return serviceName(h.Spec.Comment()), true
		}
	}
	return "", false
}

// serviceIP recognises kube-proxy's rules for one address of a Service:
// "namespace/name:port loadbalancer IP".
func serviceIP(path walk.Path) (svc string, ok bool) {
	for _, h := range path.Hops {
		_, specific := h.Spec.Option("-d")
		if c := h.Spec.Comment(); h.Chain == "KUBE-SERVICES" && strings.HasSuffix(c, " IP") && specific {
			return serviceName(c), true
		}
	}
	return "", false
}

// serviceName takes "namespace/name[:port]" from the start of a comment.
func serviceName(comment string) string {
	name, _, _ := strings.Cut(comment, " ")
	if !strings.Contains(name, "/") {
		return "(unknown)"
	}
	return name
}
