// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// knownModule answers for the mere presence of a module. Without an option a
// module that is not understood may still match or not (socket, rpfilter).
func knownModule(name string) Tri {
	switch name {
	case "icmp", "icmp6", "multiport", "addrtype", "conntrack", "state", "iprange", "comment", "mark", "set":
		return Yes
	case "tcp", "udp", "sctp":
		return Yes
	}
	if freeModule(name) {
		return Some
	}
	return Unknown
}

// freeModule lists the matches on what the packet set leaves free: time,
// chance, counters, the source's link layer, the packet's other fields.
func freeModule(name string) bool {
	switch name {
	case "statistic", "limit", "hashlimit", "connlimit", "recent", "nfacct", "quota", "time",
		"physdev", "mac", "owner", "pkttype", "length", "ttl", "hl", "tos", "dscp", "ecn",
		"devgroup", "tcpmss", "cpu":
		return true
	}
	return false
}

func matchProto(name string, proto hostport.Proto) Tri {
	return yesIf(name == "all" || name == "0" || name == proto.String() || name == strconv.Itoa(int(proto)))
}

// matchOut: a local process reaches a local address through lo.
func matchOut(name string, p Packet) Tri {
	switch {
	case name == "+":
		return Yes
	case p.Absent, p.Hook == Forward && p.Out == "":
		return Some
	case p.Hook == Forward:
		return yesIf(nameMatches(name, p.Out))
	}
	return yesIf(p.Hook == Output && nameMatches(name, "lo"))
}

func matchPorts(o iptsave.Option, p Packet) Tri {
	switch o.Name {
	case "--dport", "--dports":
		return inPorts(o.Value(), p.Port)
	case "--ports": // either port
		if m := inPorts(o.Value(), p.Port); m != No {
			return m
		}
	}
	// --sport, --tcp-flags, --syn, --chunk-types: free.
	return Some
}

// inPorts reads "80", "80:90", ":90", "80:" and comma lists of them.
func inPorts(list string, port uint16) Tri {
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, ranged := strings.Cut(part, ":")
		if !ranged {
			hi = lo
		}
		from, err1 := portNumber(lo, 0)
		to, err2 := portNumber(hi, 65535)
		if err1 != nil || err2 != nil {
			return Unknown
		}
		if from <= port && port <= to {
			return Yes
		}
	}
	return No
}

func portNumber(s string, empty uint16) (uint16, error) {
	if s == "" {
		return empty, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err
}

// matchAddrType: the destinations are local and no multicast. For IPv4 the
// kernel looks the address up and compares the one type it has; for IPv6
// UNICAST and MULTICAST are properties of the address, all types given must
// hold, and LOCAL is looked up (net/netfilter/xt_addrtype.c, match_type6).
func matchAddrType(o iptsave.Option, p Packet) Tri {
	f := p.Family()
	if p.Hook == Forward { // it is somebody else's address, or not even looked at
		if o.Name == "--dst-type" && o.Value() == "LOCAL" {
			return No
		}
		return Some
	}
	if o.Name == "--src-type" {
		return Some
	}
	if o.Name != "--dst-type" {
		return Unknown // --limit-iface-in, --limit-iface-out
	}
	local, other := false, false
	for t := range strings.SplitSeq(o.Value(), ",") {
		switch {
		case t == "LOCAL", f == hostport.IPv6 && t == "UNICAST":
			local = true
		case f == hostport.IPv6 && (t == "MULTICAST" || t == "UNSPEC"):
			return No
		default:
			other = true
		}
	}
	if f == hostport.IPv6 && other {
		return Unknown
	}
	return yesIf(local)
}

// original reports whether o asks for what a packet at Forward was before it was
// translated, which the walk does not know there.
func original(o iptsave.Option, forward bool) bool {
	return forward && strings.HasPrefix(o.Name, "--ctorig")
}

// matchConntrack: the packets open a connection that nobody translated yet, so
// the original tuple is the packet's own.
func matchConntrack(o iptsave.Option, p Packet) Tri {
	if original(o, p.Hook == Forward) {
		return Some
	}
	switch o.Name {
	case "--ctstate", "--state":
		for s := range strings.SplitSeq(o.Value(), ",") {
			if s == "NEW" || s == "DNAT" && p.Hook == Forward {
				return Yes
			}
		}
		return No
	case "--ctproto":
		return matchProto(o.Value(), p.Proto)
	case "--ctorigdstport":
		return inPorts(o.Value(), p.Port)
	case "--ctdir":
		return yesIf(o.Value() == "ORIGINAL")
	case "--ctorigsrcport", "--ctreplsrc", "--ctrepldst", "--ctreplsrcport", "--ctrepldstport":
		return Some
	}
	return Unknown // --ctstatus, --ctexpire, an address that could not be read
}
