// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
)

// Protected are the mappings that a network's protectedPorts keep from every pod, whatever
// the node is like.
func Protected(ms []hostport.Mapping, ports []hostport.Ports, network string) []Finding {
	var r Report
	for _, m := range ms {
		i := slices.IndexFunc(ports, func(p hostport.Ports) bool { return p.Has(m) })
		if i < 0 {
			continue
		}
		f := Finding{Kind: finding.Protected, Mapping: m, Who: "protectedPorts of network " + network, Where: ports[i].String()}
		f.say(f.Kind.Remedy(), "hostPort %s is protected by protectedPorts (%s) of network %s", m, f.Where, network)
		r.add(f)
	}
	return r.Conflicts
}

// findNotOwn refuses a hostIP that is on a link of infrastructure: the rules leave those
// addresses alone, so the mapping could never work.
func findNotOwn(r *Report, s Snapshot, m hostport.Mapping) {
	if m.Wildcard() {
		return
	}
	for _, l := range s.Local {
		if l.Infrastructure != "" && l.Prefix.Contains(m.HostIP) {
			who, what := hostport.Carries(l.Infrastructure)
			r.add(Finding{Kind: finding.Hidden, Mapping: m, Who: who + " with the address " + m.HostIP.String(), At: both(Translation, PrioIptables), Dst: addrset.Between(m.HostIP, m.HostIP),
				Message: fmt.Sprintf("hostPort %s would not work: %s is %s; choose an address of the node", m, m.HostIP, what)})
			return
		}
	}
}

// findClaims looks for portguard's own mappings. Those of other plugins are found by
// their rules.
func findClaims(r *Report, a hostport.Attachment, s Snapshot, m hostport.Mapping) {
	if len(s.Claims) == 0 {
		return
	}
	own := a.Owner.Key()
	for _, c := range s.Claims {
		if c.Foreign || c.Key == own || !c.Mapping.Overlaps(m) {
			continue
		}
		f := Finding{Kind: finding.Claimed, Mapping: m, Who: c.Owner.String(), Where: c.Where, At: both(Translation, c.Priority), Base: c.Backend, Dst: c.Dst, NotBy: c.NotBy, Part: c.Part, Target: c.Target, Key: c.Key, Life: c.Life, Cut: c.Cut, Spared: c.Apart(&a, m)}
		if c.Key == "" {
			f.Who = "an element in portguard's table without the name of an owner"
		}
		switch {
		case c.Lost:
			f.Where, f.At = "its rules are gone", nil
		case c.Cut != 0:
			f.Where = "some of its rules are gone"
		}
		f.Message = claimed(a.Owner, c, f)
		if c.Life == hostport.Dead {
			r.takeOver(c.Key)
		}
		if a.Owner.ContainerID != "" && c.Owner.ContainerID == a.Owner.ContainerID {
			f.Conditional = true
		}
		r.add(f)
	}
}

// claimed says who has a port, and what to do about it.
func claimed(o hostport.Owner, c hostport.Claim, f Finding) string {
	switch {
	case f.Spared:
		return fmt.Sprintf("hostPort %s leaves this alone: %s", f.Mapping, f.Who)
	case c.Life == hostport.Dead:
		return fmt.Sprintf("hostPort %s belonged to %s, which is gone; the next pod takes it over", c.Mapping, f.Who)
	case o.ContainerID != "" && c.Owner.ContainerID == o.ContainerID:
		return fmt.Sprintf("hostPort %s stays with %s (network %s) of the same container, which has hostPort %s; %s takes over when that goes", f.Mapping, c.Owner.IfName, c.Owner.Network, c.Mapping, o.IfName)
	case c.Life == hostport.Unknown:
		return fmt.Sprintf("hostPort %s may be taken: %s has hostPort %s, and nobody can tell from here whether it lives: %s; %s", f.Mapping, f.Who, c.Mapping, c.Unsure, f.Kind.Remedy())
	case o.PodName != "" && o.Pod() == c.Owner.Pod():
		return fmt.Sprintf("hostPort %s is taken: an earlier sandbox of this pod (%s) is still being stopped; it will be tried again", f.Mapping, c.Owner.Short())
	case c.Lost, c.Cut != 0:
		return fmt.Sprintf("hostPort %s is taken: %s has hostPort %s, and %s (portguard restore puts them back); %s", f.Mapping, f.Who, c.Mapping, f.Where, f.Kind.Remedy())
	}
	return fmt.Sprintf("hostPort %s is taken: %s has hostPort %s; %s", f.Mapping, f.Who, c.Mapping, f.Kind.Remedy())
}

func (r *Report) takeOver(key hostport.Key) {
	if !slices.Contains(r.TakeOver, key) {
		r.TakeOver = append(r.TakeOver, key)
	}
}

// deadOf are the keys of the claims of a container that another plugin made, if it has
// some and all are dead.
func deadOf(claims []hostport.Claim, o hostport.Owner) (keys []hostport.Key) {
	for _, c := range claims {
		if !foreignOf(c, o) {
			continue
		}
		if c.Life != hostport.Dead {
			return nil
		}
		keys = append(keys, c.Key)
	}
	return keys
}

// podOf is the pod of a container that another plugin attached, "" if nobody knows.
func podOf(claims []hostport.Claim, o hostport.Owner) string {
	for _, c := range claims {
		if foreignOf(c, o) && c.Owner.PodName != "" {
			return c.Owner.Pod()
		}
	}
	return ""
}

// foreignOf reports whether a claim is that of a container of another plugin. A rule may
// not tell the network of its container.
func foreignOf(c hostport.Claim, o hostport.Owner) bool {
	known := c.Owner.Network != "" && o.Network != ""
	return c.Foreign && o.ContainerID != "" && c.Owner.ContainerID == o.ContainerID && (!known || c.Owner.Network == o.Network)
}
