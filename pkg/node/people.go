// SPDX-License-Identifier: Apache-2.0

package node

import (
	"maps"
	"os"
	"slices"
	"time"

	"github.com/portguard/portguard/pkg/backend/reservation"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inspect"
	"github.com/portguard/portguard/pkg/listener"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/rules"
	"github.com/portguard/portguard/pkg/way"
)

// Proxies says what kube-proxy and others have on the node.
func (n *Node) Proxies(on *host.Addressing) (p doctor.Proxies, err error) {
	r := n.rules(rules.Options{})
	p.IPVS = on.IPVS
	var hint []string
	if p.KubeProxy, hint, err = r.Proxies(); err != nil {
		return p, err
	}
	if len(hint) > 0 {
		p.Hint = hint[len(hint)-1]
	}
	for _, f := range n.Families() {
		for _, fl := range []string{rules.NFT, rules.Legacy} {
			there, err := r.Present(fl, f)
			if err != nil {
				return p, err
			}
			if there && !slices.Contains(p.Flavours, fl) {
				p.Flavours = append(p.Flavours, fl)
			}
			crio, err := hasCRIO(r, fl, f)
			if err != nil {
				return p, err
			}
			p.CRIO = p.CRIO || crio
		}
	}
	p.Native, err = native(r, n.Families())
	return p, err
}

// AskBound makes Look ask who has bound a port and does not listen yet.
func (n *Node) AskBound(port uint16) { n.bound[port] = true }

// Virtual are the links that carry nothing but addresses and are not known.
func (n *Node) Virtual(on *host.Addressing) (out []doctor.Virtual, err error) {
	singles, err := host.Virtual()
	for _, link := range slices.Sorted(maps.Keys(singles)) {
		if !slices.Contains(on.Infrastructure, link) {
			out = append(out, doctor.Virtual{Link: link, Singles: singles[link]})
		}
	}
	return out, err
}

// hasCRIO reports whether CRI-O maps hostPorts by itself.
func hasCRIO(r *rules.Reader, flavour string, f hostport.Family) (bool, error) {
	names, err := r.Chains(flavour, f, "nat")
	if err != nil {
		return false, err
	}
	for _, chain := range names {
		if !conflict.OfCRIO(chain) {
			continue
		}
		list, err := r.Rules(flavour, nft.Table{Family: f.NFProto(), Name: "nat"}, chain)
		if err != nil || len(list) > 0 {
			return len(list) > 0, err
		}
	}
	return false, nil
}

// Entries are those who send packets from outside.
func (n *Node) Entries(on *host.Addressing, pods []string) ([]way.Source, error) {
	return host.Entries(on, pods)
}

// Router asks the kernel for routes.
func (n *Node) Router() way.Router { return host.NewRouter() }

// Pods looks into the network namespaces of pods.
func (n *Node) Pods(home func(hostport.Key) host.Home, ears bool) inspect.Pods {
	if !ears {
		return host.NewPods(home, nil)
	}
	return host.NewPods(home, func(p hostport.Proto, port uint16) ([]hostport.Listener, bool, error) {
		all, err := listener.Waiting(p, port)
		base, _, nferr := nftconn.NewReader().Chains()
		legacy, _ := os.ReadFile("/proc/thread-self/net/ip_tables_names")
		programs, bpferr := host.SocketPrograms()
		return all, len(base)+len(legacy)+len(programs.Attached) > 0 || nferr != nil || bpferr != nil, err
	})
}

// Onward calls f with all rules of the node, for packets wherever they go: Look leaves out
// those that are not about the node's addresses and the ports that it is asked for.
func (n *Node) Onward(wait time.Duration, on *host.Addressing, f func(conflict.Snapshot) error) error {
	printer := n.printer(wait)
	return rules.Steady(wait, n.rules(rules.Options{}), func(r *rules.Reader) error {
		snap := conflict.Snapshot{Local: on.Local, Sets: host.Sets{}, Print: printer}
		holders, err := r.Holders()
		if err != nil {
			return err
		}
		snap.Rulesets = holders
		return f(snap)
	})
}

// PodsOfGroups are what the pods are called that cgroups of v2 belong to, without those of none.
func (n *Node) PodsOfGroups(groups []uint32, podLogs string) map[uint32]string {
	pods := reservation.Groups(groups)
	for id, path := range pods {
		pods[id] = listener.New(podLogs).PodOfGroup(path)
	}
	return pods
}
