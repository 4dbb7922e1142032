// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// listenerRemedy is the first whose case it is: what is known of the socket says more than
// that it listens.
func listenerRemedy(l hostport.Listener, m hostport.Mapping) string {
	const other = "or choose another hostPort"
	switch {
	case l.Holder.Link != "":
		return "give that link another port " + other
	case l.Holder.Docker != "":
		return stopping(l.Holder.Docker)
	case l.Holder.OfDocker():
		return fmt.Sprintf("it is docker's for a container: docker ps --filter publish=%d; stop that %s", l.Port, other)
	case l.Holder.Comm == "conmon":
		return fmt.Sprintf("it is podman's for a container: podman ps --filter publish=%d; stop that %s", l.Port, other)
	case l.Holder.PID == 1 && l.Holder.Comm == "systemd":
		return fmt.Sprintf("it is a socket unit: systemctl list-sockets | grep %d, systemctl disable --now that unit, %s", l.Port, other)
	case !l.Addr.IsUnspecified() && m.Wildcard():
		return fmt.Sprintf("it has that address only: give the pod a hostIP of another one, or the network excludeCIDRs with %s/%d; or stop it", l.Addr, l.Addr.BitLen())
	}
	return finding.Listener.Remedy()
}

// stopping is the remedy for a container of docker's.
func stopping(container string) string {
	return "docker stop " + container + ", or choose another hostPort"
}

// container names the container of docker's to which a rule leads, by who keeps the port for
// it; "" if nobody knows. The daemon itself does not say where its ports lead, but it keeps
// them on the addresses that the rule is for.
func (q query) container(path walk.Path) string {
	to, _ := netip.ParseAddrPort(path.Last().To)
	for _, l := range q.s.Listeners {
		if l.Holder.Docker == "" || l.Proto != q.m.Proto || l.Port != q.m.HostPort {
			continue
		}
		at, here := l.Holder.Target, l.Addr.IsUnspecified() || path.Dst.Contains(l.Addr)
		if at.IsValid() && at == to || here && (!at.IsValid() || !to.IsValid()) {
			return l.Holder.Docker
		}
	}
	return ""
}

// ruleRemedy is that for somebody's rule that takes the packets.
func (q query) ruleRemedy(path walk.Path) string {
	that := q.removing(path)
	if path.NamesPort() {
		return that + " or choose another hostPort"
	}
	if slices.ContainsFunc(path.Hops, func(h walk.Hop) bool { return h.Specific }) {
		return fmt.Sprintf("it takes all ports that come to it of %s: let it leave this one out, or give the pod a hostIP of another address; or %s", path.Dst, that)
	}
	return "it takes all ports that come to it: let it leave this one out (RETURN before it), or " + that
}

// telling orders refusals of one request: who keeps a port for a container says less than the
// container's rule.
func telling(f Finding) int {
	if f.Proxy {
		return int(finding.Protected) + 1
	}
	return int(f.Kind)
}
