// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/ruleset"
)

// bootID tells this boot from others.
func (p *Plugin) bootID() string {
	b, _ := os.ReadFile(filepath.Join(p.Proc, "sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(b))
}

// node settles what depends on the node: the link for localhost, addresses of
// infrastructure, the ipsets of Services.
func (p *Plugin) node(req *netconf.Request, addrs []hostport.LocalAddr) (map[hostport.Family]ruleset.Node, error) {
	a := &req.Attachment
	if err := settleLocalhost(req); err != nil {
		return nil, err
	}
	ipvs := slices.ContainsFunc(addrs, func(la hostport.LocalAddr) bool { return la.Link == hostport.IPVSLink })
	out := map[hostport.Family]ruleset.Node{}
	for _, f := range hostport.Families() {
		n := ruleset.Node{RouteLocalnet: map[string]bool{}}
		if ipvs {
			for _, s := range ruleset.ServiceSets(f) {
				ok, err := host.HasSet(s.Name)
				if err != nil {
					return nil, err
				}
				if ok {
					n.Sets = append(n.Sets, s)
				}
			}
		}
		if f == hostport.IPv4 && a.Localhost {
			on, err := host.RouteLocalnet(a.Link)
			if err != nil {
				return nil, err
			}
			n.RouteLocalnet[a.Link] = on
		}
		a.Excludes = append(a.Excludes, infrastructure(addrs, f, n)...)
		out[f] = n
	}
	return out, nil
}

// infrastructure are the addresses that a wildcard mapping leaves alone as a
// whole. Those of kube-ipvs0 are listed only without the ipset that follows
// them.
func infrastructure(addrs []hostport.LocalAddr, f hostport.Family, n ruleset.Node) []netip.Prefix {
	var out []netip.Prefix
	for _, la := range addrs {
		if !la.Infrastructure() || hostport.FamilyOf(la.Addr) != f || f == hostport.IPv6 && la.Addr.IsLinkLocalUnicast() {
			continue
		}
		if la.Link == hostport.IPVSLink && len(n.Sets) > 0 {
			continue
		}
		out = append(out, netip.PrefixFrom(la.Addr, la.Addr.BitLen()))
	}
	return out
}

// settleLocalhost switches localhost off where no mapping needs it, and finds
// the link it goes over.
func settleLocalhost(req *netconf.Request) error {
	a := &req.Attachment
	needs := slices.ContainsFunc(a.Of(hostport.IPv4), func(m hostport.Mapping) bool { return m.Wildcard() || m.HostIP.IsLoopback() })
	pod, ok := a.Pod(hostport.IPv4)
	if !a.Localhost || !needs || !ok {
		a.Localhost = false
		return nil
	}
	link, err := host.LinkTo(pod.Addr())
	if err != nil {
		return err
	}
	a.Link, a.Localhost = link, link != ""
	if a.Localhost {
		return nil
	}
	for _, m := range a.Mappings {
		if m.HostIP.IsLoopback() {
			return fmt.Errorf("hostPort %s would not work: the node has no link to pod %s", m, pod.Addr())
		}
	}
	req.Warnings = append(req.Warnings, fmt.Sprintf("127.0.0.1 is not mapped: the node has no link to pod %s", pod.Addr()))
	return nil
}

// dropUDP forgets the UDP flows of a's mappings: after ADD those that lead
// elsewhere, after DEL those that lead to the pod.
func (p *Plugin) dropUDP(a hostport.Attachment, toPod bool) error {
	if !slices.ContainsFunc(a.Mappings, func(m hostport.Mapping) bool { return m.Proto == hostport.UDP }) {
		return nil
	}
	addrs, err := host.Addrs()
	if err != nil {
		return err
	}
	for _, f := range hostport.Families() {
		pod, ok := a.Pod(f)
		if !ok {
			continue
		}
		var flows []host.Flow
		for _, m := range a.Of(f) {
			local := func(ip netip.Addr) bool {
				return !a.Carved(ip, m) && slices.ContainsFunc(addrs, func(la hostport.LocalAddr) bool { return la.Addr == ip && a.Claims(la) })
			}
			flows = append(flows, host.Flow{Mapping: m, Local: local, Pod: pod.Addr(), ToPod: toPod})
		}
		if err := host.DropUDP(f, flows); err != nil {
			return err
		}
	}
	return nil
}
