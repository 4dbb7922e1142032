// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
)

// noEndpoints is the chain of table filter in which kube-proxy rejects traffic
// for NodePorts that have no endpoints and therefore no rule in nat
// (kubernetes pkg/proxy/iptables/proxier.go).
const noEndpoints = "KUBE-EXTERNAL-SERVICES"

// noEndpointPorts is the chain in which kube-proxy's nftables mode does that
// (pkg/proxy/nftables/proxier.go).
const noEndpointPorts = "nodeport-endpoints-check"

// kubeProxyTable is that of kube-proxy's nftables mode.
const kubeProxyTable = "kube-proxy"

// withoutEndpoints looks for NodePorts that kube-proxy only rejects so far, if a base
// chain of table filter leads there: a switch of kube-proxy's mode leaves unused chains
// behind.
func (q query) withoutEndpoints() error {
	filter := q.own("filter")
	for _, chain := range []string{"INPUT", "FORWARD", "OUTPUT"} {
		there, err := q.jumps(filter, chain, noEndpoints)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		p, ok := q.packets(walk.Prerouting)
		if !ok {
			return nil
		}
		res, err := q.walk(filter, noEndpoints, p, p.Start())
		if err == nil {
			q.rejected(res)
		}
		return err
	}
	return nil
}

// jumps reports whether a rule of chain jumps to another one. A chain that is not there
// has no rules.
func (q query) jumps(t nft.Table, chain, to string) (bool, error) {
	rules, err := q.Source.Rules(t, chain)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return slices.ContainsFunc(rules, func(r nft.Rule) bool { return r.Target() == to }), err
}

// rejected reports the Services whose traffic kube-proxy rejects.
func (q query) rejected(res walk.Result) {
	for _, path := range res.End {
		svc := serviceName(path.Last().Comment)
		if !path.Last().Specific {
			q.rejectedPort(path, svc)
			continue
		}
		f := Finding{Kind: finding.ServiceIP, Mapping: q.m, Who: "Service " + svc + " (without endpoints)", At: both(Rejection, 0), Dst: path.Dst}
		f.say(f.Kind.Remedy(), "hostPort %s: Service %s has the node address %s as LoadBalancer or external IP and no endpoints now; it wins once it has some", q.m, svc, path.Dst)
		q.r.add(f)
	}
}

func (q query) rejectedPort(path walk.Path, svc string) {
	f := Finding{Kind: finding.NodePort, Mapping: q.m, Who: "Service " + svc + " (NodePort without endpoints)", At: both(Rejection, 0), Dst: path.Dst}
	f.say(f.Kind.Remedy(), "hostPort %s is taken: it is a NodePort of Service %s (without endpoints now)", q.m, svc)
	q.r.add(f)
}

// nativeWithoutEndpoints does the same for kube-proxy's nftables mode.
func (q query) nativeWithoutEndpoints() error {
	p, ok := q.packets(walk.Prerouting)
	if !ok {
		return nil
	}
	res, err := q.walk(q.own(kubeProxyTable), noEndpointPorts, p, p.Start())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another version of kube-proxy
	}
	if err != nil {
		return err
	}
	for _, path := range res.End {
		q.rejectedPort(path, serviceName(path.Hops[0].Comment))
	}
	return nil
}

// nodePort reads the Service from the comment kube-proxy puts on the rules of
// KUBE-NODEPORTS, "namespace/name:port", or in nftables mode from the chain that
// the map of NodePorts leads to.
func nodePort(path walk.Path) (string, bool) {
	for i, h := range path.Hops {
		switch {
		case inNat(h) && h.Chain == "KUBE-NODEPORTS":
			return serviceName(h.Comment), true
		case ofKubeProxy(h) && slices.Contains(h.Sets, "service-nodeports"):
			return serviceOfChain(path, i+1), true
		case inNat(h) && strings.HasPrefix(h.Chain, "OVN-KUBE-NODEPORT"):
			return unnamed + " (of OVN-Kubernetes)", true
		case inNat(h) && slices.ContainsFunc(h.IPSets, func(set string) bool { return strings.HasPrefix(set, "ANTREA-NODEPORT") }):
			return unnamed + " (of Antrea)", true
		}
	}
	return "", false
}

// serviceIP recognises kube-proxy's rules for one address of a Service:
// "namespace/name:port loadbalancer IP", or the map of such addresses.
func serviceIP(path walk.Path) (svc string, ok bool) {
	for i, h := range path.Hops {
		switch {
		case inNat(h) && h.Chain == "KUBE-SERVICES" && strings.HasSuffix(h.Comment, " IP") && h.Specific:
			return serviceName(h.Comment), true
		case ofKubeProxy(h) && slices.Contains(h.Sets, "service-ips"):
			return serviceOfChain(path, i+1), true
		}
	}
	return "", false
}

// whose tells the ways that make a rule a Service's, or a container's, and so perhaps no
// refusal, from all others.
func whose(hops []walk.Hop) string {
	way := walk.Path{Hops: hops}
	if svc, ok := serviceIP(way); ok {
		return svc
	}
	return portmapOwner(way).ContainerID
}

// inNat: KUBE-SERVICES and KUBE-NODEPORTS are in table nat of iptables.
func inNat(h walk.Hop) bool { return OfIptables(h.Table) && h.Table.Name == "nat" }

func ofKubeProxy(h walk.Hop) bool {
	return h.Table.Family != nft.Inet && h.Table.Name == kubeProxyTable
}

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
