// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/state"
)

// settle completes the attachment of a request with what depends on the node: the link
// for localhost, the node's networks.
func (s *Session) settle(req *netconf.Request) error {
	a := &req.Attachment
	if err := judge(s.On, req); err != nil {
		return err
	}
	if err := s.settleLocalhost(req); err != nil {
		return err
	}
	for _, l := range s.On.Shared {
		if slices.ContainsFunc(a.Of(hostport.FamilyOf(l.Prefix.Addr())), hostport.Mapping.Wildcard) {
			req.Warnings = append(req.Warnings, l.NotAt()+"; "+hostport.OnOneLink)
		}
	}
	a.Networks = hostport.Cover(s.On.Networks)
	if a.Reserve != hostport.ReserveOff && s.Node.CallerBinds() {
		a.Reserve = hostport.ReserveRuntime
	}
	if a.Link == "" {
		return nil
	}
	var err error
	a.LocalnetWas, err = s.localnetWas(a.Link)
	return err
}

// judge refuses addresses that cannot be the pod's, or the node's, on a node that is on
// those networks. A hostPort must not lead to a service of the node itself.
func judge(on *host.Addressing, req *netconf.Request) error {
	for _, ip := range req.PodIPs {
		what := ""
		switch {
		case own(on, ip.Addr):
			what = "the node's own"
		case slices.Contains(on.Broadcasts, ip.Addr):
			what = "a broadcast address of the node"
		default:
			continue
		}
		return &netconf.FieldError{Field: ip.Field, Problem: fmt.Sprintf("%s is %s and cannot be the pod's; look at the plugin that assigns addresses and at what the pod asks it for", ip.Addr, what)}
	}
	for _, ip := range req.HostIPs {
		if what := Unfit(req.Config, on, ip.Addr); what != "" {
			return &netconf.FieldError{Field: ip.Field, Problem: what}
		}
	}
	return nil
}

// Unfit says why no hostPort of a network can be at an address of a node, "" if one can.
func Unfit(c *netconf.Config, on *host.Addressing, a netip.Addr) string {
	if what := c.Unfit(a); what != "" {
		return what
	}
	what := ""
	switch first := a.AsSlice()[0]; {
	case slices.Contains(on.Broadcasts, a):
		what = "a broadcast address"
	case a.Is4() && (first == 0 || first >= 240) && !own(on, a): // Linux lets a node have one
		what = "a reserved address"
	default:
		return ""
	}
	return fmt.Sprintf("%s is %s (want one of the node's own)", a, what)
}

// own reports whether the node answers for an address.
func own(on *host.Addressing, a netip.Addr) bool {
	for _, l := range on.Local {
		if l.Prefix.Contains(a) {
			return true
		}
	}
	return false
}

// localnetWas tells what route_localnet of a link was before portguard. If it is on, a
// record may know that portguard switched it on.
func (s *Session) localnetWas(link string) (bool, error) {
	on, err := s.Node.RouteLocalnet(link)
	if err != nil {
		return false, err
	}
	if !on { // whoever found it on does not know that portguard switches it on now
		for _, key := range s.links()[link] {
			if rec := s.Record(key); rec != nil && rec.Attachment.LocalnetWas {
				rec.Attachment.LocalnetWas = false
				s.wrong = append(s.wrong, *rec)
			}
		}
		return false, nil
	}
	for _, key := range s.Store.Keys() {
		if rec := s.Record(key); rec != nil && rec.Attachment.Localhost && rec.Attachment.Link == link && !rec.Attachment.LocalnetWas {
			return false, nil
		}
	}
	return true, nil
}

// A wasOn knows what route_localnet of the link of an attachment was before portguard.
type wasOn interface {
	WasOn(key hostport.Key) bool
}

// wasOn asks what is wanted.
func (s *Session) wasOn(key hostport.Key) bool {
	return slices.ContainsFunc(s.want, func(st backend.State) bool {
		guard, ok := st.(wasOn)
		return ok && guard.WasOn(key)
	})
}

// relink leaves 127.0.0.1 out of what is put back or moved if the link to the pod is gone.
func (s *Session) relink(rec *state.Record) (err error) {
	if a := &rec.Attachment; a.Localhost {
		rec.LinkIndex, err = s.Node.LinkIndex(a.Link)
		a.Localhost = rec.LinkIndex != 0
	}
	return err
}

// settleLocalhost switches localhost off where no mapping needs it, and finds the link
// it goes over.
func (s *Session) settleLocalhost(req *netconf.Request) error {
	a := &req.Attachment
	pod, ok := a.Pod(hostport.IPv4)
	if !a.Localhost || !needsLocalhost(*a) || !ok {
		a.Localhost = false
		return nil
	}
	link, err := s.LinkTo(pod.Addr())
	if err != nil {
		return err
	}
	a.Link, a.Localhost = link.Name, link.Name != ""
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
