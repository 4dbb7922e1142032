// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
)

// A Local is what the node answers for on one link: an address, or a prefix
// (127.0.0.0/8, "ip route add local 198.51.100.0/24").
type Local struct {
	Prefix netip.Prefix
	// Infrastructure is set for links that carry addresses of Services or of a
	// node-local cache rather than the node's own, and names the link.
	Infrastructure string
	// Link is the index of the link that it is on.
	Link int
}

// A Listener is a socket that receives what nobody has a connection for: TCP in
// state LISTEN, unconnected UDP, or an SCTP endpoint.
type Listener struct {
	Proto Proto
	// Addr is the bound address, unspecified for all. A v4-mapped address is
	// given as IPv4.
	Addr netip.Addr
	Port uint16
	// V6Only limits the address "::" to IPv6.
	V6Only bool
	// Device is the link that the socket is bound to, "" for none: it receives what comes in
	// by that link only, for whatever address of the node.
	Device string
	// Link is the index of Device if rules see what the socket receives come in by that link,
	// and by its name, otherwise 0.
	Link int
	// Bound is set if it does not listen yet: it has the port all the same.
	Bound  bool
	UID    uint32
	Inode  uint32
	Holder Process
}

// A Process holds a socket. PID 0 means that nobody was found.
type Process struct {
	PID  int
	Comm string
	// Pod is "namespace/name", "pod UID ..." or "".
	Pod string
	// Unsought is set if the search was given up: there may be a process.
	Unsought bool
	// Container is the ID of the container that a runtime keeps the port open for with
	// this process, Target the address that it forwards to. Both are "" or zero for others.
	Container string
	Target    netip.AddrPort
	// Docker is the name of docker's container that publishes the port, if it keeps it for one.
	Docker string
	// Link is the tunnel whose socket it is, as "vxlan flannel.1", "" if that is not known.
	// Such a socket has no process.
	Link string
}

// OfDocker reports whether the process keeps ports for containers of docker's: docker-proxy, or
// with userland-proxy=false the daemon itself. Names of processes have 15 characters.
func (p Process) OfDocker() bool {
	return strings.HasPrefix(p.Comm, "docker-proxy") || p.Comm == "dockerd"
}

// HoldsFor reports whether a runtime keeps the port open for a container: of that ID, or
// with that address and port. The mapping of the container is not in its way.
func (p Process) HoldsFor(containerID string, target netip.AddrPort) bool {
	return p.Container != "" && p.Container == containerID || p.Target.IsValid() && p.Target == target
}

// Covers reports whether l receives IPv4 or IPv6 packets.
func (l Listener) Covers(f Family) bool {
	if FamilyOf(l.Addr) == f {
		return true
	}
	return f == IPv4 && l.Addr.IsUnspecified() && !l.V6Only
}

// String says who listens where.
func (l Listener) String() string {
	does := "listens on"
	if l.Bound {
		does = "is about to listen on"
	}
	return fmt.Sprintf("%s %s %s", l.Who(), does, l.Where())
}

// Where is the address, link and port of the socket, as ss prints them.
func (l Listener) Where() string {
	switch at := netip.AddrPortFrom(l.Addr, l.Port); {
	case l.Device == "":
		return at.String()
	case l.Addr.Is4():
		return fmt.Sprintf("%s%%%s:%d", l.Addr, l.Device, l.Port)
	default:
		return fmt.Sprintf("[%s%%%s]:%d", l.Addr, l.Device, l.Port)
	}
}

// Meets reports whether packets to an address can come in by the link that the socket is
// bound to. Those to 127.0.0.0/8 and ::1 come by lo; by any other link the kernel takes packets
// for each of its addresses, whatever link that is on.
func (l Listener) Meets(a netip.Addr) bool {
	return l.Device == "" || l.Device == "lo" || !a.IsLoopback()
}

// Who names the holder, as far as it is known.
func (l Listener) Who() string {
	switch {
	case l.Holder.Unsought:
		return fmt.Sprintf("a socket of uid %d (inode %d, its process was not found in time)", l.UID, l.Inode)
	case l.Holder.Link != "":
		return "the kernel's own " + l.Holder.Link
	case l.Holder.PID == 0:
		return fmt.Sprintf("a socket of uid %d (inode %d, no process found)", l.UID, l.Inode)
	case l.Holder.Docker != "":
		return fmt.Sprintf("%s (pid %d, container %s)", l.Holder.Comm, l.Holder.PID, l.Holder.Docker)
	case l.Holder.Pod != "":
		return fmt.Sprintf("%s (pid %d, %s)", l.Holder.Comm, l.Holder.PID, l.Holder.Pod)
	}
	return fmt.Sprintf("%s (pid %d)", l.Holder.Comm, l.Holder.PID)
}

// Kernel reports whether no process has the socket: it is the kernel's own, such as that of
// a tunnel.
func (l Listener) Kernel() bool { return l.Holder.PID == 0 && !l.Holder.Unsought }

// A Claim is a mapping that is in place now, whoever made it.
type Claim struct {
	Owner Owner
	Key   Key
	// Backend is the name of the backend that has it, Where the place in words.
	Backend, Where string
	// Priority is that of the base chain in which the mapping is.
	Priority int32
	Mapping  Mapping
	// Foreign is set for what another plugin made. Its rules speak for themselves: the
	// claim tells whose they are, and whether that one is dead.
	Foreign bool
	// Dst are the addresses at which it is in place.
	Dst addrset.Set
	// Part is set for a mapping with conditions.
	Part bool
	// Excludes are the addresses that a wildcard mapping leaves alone, as far as a record tells.
	Excludes []netip.Prefix
	// Target is where it leads, as far as the rules tell.
	Target netip.AddrPort
	// NotBy are the links by which packets come in that it leaves alone.
	NotBy []string
	// Packets is how many packets met the rule: the first of each connection. It
	// is -1 where nobody counts.
	Packets int64
	// Lost is set for a mapping that has a record and no rules: somebody flushed them.
	Lost bool
	// Cut says which packets do not get to one that is in place, because some of its rules are gone.
	Cut Cut
	// Life says whether the owner lives, Unsure why nobody can tell if it is Unknown.
	Life   Life
	Unsure string
}

// Apart reports whether a claim and a mapping that an attachment asks for have no packet in
// common although they overlap: one is for all addresses but excludes that of the other. With
// conditions one chain has all of a port's packets, and nothing behind it.
func (c *Claim) Apart(a *Attachment, m Mapping) bool {
	except, at := c.Excludes, m.HostIP
	if m.Wildcard() {
		except, at = a.Excludes, c.Mapping.HostIP
	}
	if c.Mapping.Wildcard() == m.Wildcard() || c.Part || a.Restricted(m.Family) {
		return false
	}
	for _, p := range except {
		if p.Contains(at) {
			return true
		}
	}
	return false
}

// Concerns tells the destinations that mappings ms can be about on a node with
// the addresses local: those, the hostIPs, and all link-local ones of IPv6, which come
// and go with the links of pods.
func Concerns(local []Local, ms []Mapping) func(netip.Addr) bool {
	var all []addrset.Set
	for _, l := range local {
		all = append(all, addrset.Of(l.Prefix))
	}
	own, hosts := addrset.Union(all...), map[netip.Addr]bool{}
	for _, m := range ms {
		hosts[m.HostIP] = true
	}
	return func(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() || own.Contains(a) || hosts[a] }
}

// Asked tells the hostPorts of ms.
func Asked(ms []Mapping) func(port uint16) bool {
	at := make(map[uint16]bool, len(ms))
	for _, m := range ms {
		at[m.HostPort] = true
	}
	return func(port uint16) bool { return at[port] }
}

// ByPort are mappings by their hostPorts: a pod may have thousands.
func ByPort(ms []Mapping) map[uint16][]Mapping {
	many := make(map[uint16]int, len(ms))
	for _, m := range ms {
		many[m.HostPort]++
	}
	out, room := make(map[uint16][]Mapping, len(many)), make([]Mapping, len(ms))
	for _, m := range ms {
		of, n := out[m.HostPort], many[m.HostPort]
		if of == nil {
			of, room = room[:0:n], room[n:]
		}
		out[m.HostPort] = append(of, m)
	}
	return out
}

// A Member of an ipset is addresses, perhaps with a port, others, or a link; in a list it is
// another set.
type Member struct {
	Addrs, Addrs2 addrset.Set
	Proto         Proto
	Port          uint16
	Link          string
	// Except means that it is taken out of the set (nomatch).
	Except bool
	Set    string
}
