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
	"github.com/portguard/portguard/pkg/state"
)

// bootID tells this boot from others.
func (p *Plugin) bootID() string {
	b, _ := os.ReadFile(filepath.Join(p.Proc, "sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(b))
}

// settle completes the attachment with what depends on the node: the link for
// localhost, addresses of infrastructure, the node's networks. It returns what
// the rules need besides.
func settle(req *netconf.Request, on *host.Addressing) (map[hostport.Family]ruleset.Node, error) {
	if err := settleLocalhost(req); err != nil {
		return nil, err
	}
	return surround(&req.Attachment, on)
}

// surround completes an attachment whose localhost is settled with the node's
// networks and with what belongs to infrastructure.
func surround(a *hostport.Attachment, on *host.Addressing) (map[hostport.Family]ruleset.Node, error) {
	a.Networks = on.Networks
	out := map[hostport.Family]ruleset.Node{}
	for _, f := range hostport.Families() {
		sets, err := serviceSets(on, f)
		if err != nil {
			return nil, err
		}
		n := ruleset.Node{Sets: sets, RouteLocalnet: map[string]bool{}}
		a.Excludes = append(a.Excludes, infrastructure(on, f, sets)...)
		out[f] = n
	}
	return out, nil
}

// serviceSets are the ipsets of kube-proxy's ipvs mode that exist. Without its
// link none is asked for.
func serviceSets(on *host.Addressing, f hostport.Family) ([]ruleset.Set, error) {
	if !slices.ContainsFunc(on.Local, func(l hostport.Local) bool { return l.Infrastructure == hostport.IPVSLink }) {
		return nil, nil
	}
	var out []ruleset.Set
	for _, s := range ruleset.ServiceSets(f) {
		ok, err := host.HasSet(s.Name)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, s)
		}
	}
	return out, nil
}

// infrastructure are the addresses that a wildcard mapping leaves alone as a
// whole. Those of kube-ipvs0 are listed only without the ipset that follows
// them (KUBE-IPVS-IPS), as with an old kube-proxy.
func infrastructure(on *host.Addressing, f hostport.Family, sets []ruleset.Set) []netip.Prefix {
	followed := slices.ContainsFunc(sets, ruleset.Set.Addresses)
	var out []netip.Prefix
	for _, l := range on.Local {
		switch {
		case l.Infrastructure == "", hostport.FamilyOf(l.Prefix.Addr()) != f:
		case l.Infrastructure == hostport.IPVSLink && followed:
		case f == hostport.IPv6 && l.Prefix.Addr().IsLinkLocalUnicast():
		default:
			out = append(out, l.Prefix)
		}
	}
	return out
}

// localnetWas tells what route_localnet of link was before portguard. If it is
// on and an attachment of ours uses it, that one's record knows better.
func localnetWas(link string, store *state.Store) (bool, error) {
	on, err := host.RouteLocalnet(link)
	if err != nil || !on {
		return false, err
	}
	for _, key := range store.Keys() {
		if rec, err := store.Load(key); err == nil && rec.Attachment.Localhost && rec.Attachment.Link == link {
			return rec.LocalnetWas, nil
		}
	}
	return true, nil
}

// settleLocalhost switches localhost off where no mapping needs it, and finds
// the link it goes over.
func settleLocalhost(req *netconf.Request) error {
	a := &req.Attachment
	pod, ok := a.Pod(hostport.IPv4)
	if !a.Localhost || !needsLocalhost(*a) || !ok {
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
			return advised{fmt.Errorf("hostPort %s would not work: the node has no link to pod %s; choose another hostIP or leave it out", m, pod.Addr())}
		}
	}
	req.Warnings = append(req.Warnings, fmt.Sprintf("127.0.0.1 is not mapped: the node has no link to pod %s; set \"localhost\": false if that is meant", pod.Addr()))
	return nil
}

// needsLocalhost reports whether a maps an address of 127.0.0.0/8.
func needsLocalhost(a hostport.Attachment) bool {
	return slices.ContainsFunc(a.Of(hostport.IPv4), func(m hostport.Mapping) bool { return m.Wildcard() || m.HostIP.IsLoopback() })
}
