// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// freeModule lists the matches on what the packet set leaves free: time,
// chance, counters, the source's link layer, the packet's other fields. Some packet
// may well meet them.
func freeModule(name string) bool {
	switch name {
	case "statistic", "limit", "hashlimit", "connlimit", "connbytes", "recent", "nfacct", "quota", "time",
		"physdev", "mac", "owner", "cgroup", "pkttype", "length", "ttl", "hl", "tos", "dscp", "ecn",
		"devgroup", "tcpmss", "cpu", "policy", "realm", "rpfilter", "socket", "connlabel", "helper",
		"string", "u32", "bpf", "geoip", "osf", "esp", "ah", "frag", "rt", "hbh", "dst", "mh", "ipv6header", "eui64":
		return true
	}
	return false
}

// optionTest says what o means for p, negation included. Limited means that addrtype
// asks for one interface only, which the walk does not know.
func optionTest(o iptsave.Option, p Packet, limited bool) test {
	if c, ok := srcType(o, p); ok && !limited {
		return test{cond: &c}
	}
	t := matchOption(o, p)
	if limited && o.Module == "addrtype" {
		t = Some
	}
	if o.Not {
		t = t.not()
	}
	return test{always: t}
}

// matchOption answers for o without its negation.
func matchOption(o iptsave.Option, p Packet) Tri {
	switch o.Module {
	case "tcp", "udp", "sctp", "multiport":
		return matchPorts(o, p)
	case "addrtype":
		return matchAddrType(o, p)
	case "conntrack":
		return matchConntrack(o, p)
	}
	return Unknown
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

// inPorts reads "80", "80:90" and comma lists of them.
func inPorts(list string, port uint16) Tri {
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, ranged := strings.Cut(part, ":")
		if !ranged {
			hi = lo
		}
		from, err1 := strconv.ParseUint(lo, 10, 16)
		to, err2 := strconv.ParseUint(hi, 10, 16)
		if err1 != nil || err2 != nil {
			return Unknown
		}
		if from <= uint64(port) && uint64(port) <= to {
			return Yes
		}
	}
	return No
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
	case "--ctstate":
		for s := range strings.SplitSeq(o.Value(), ",") {
			if s == "NEW" || s == "DNAT" && p.Hook == Forward {
				return Yes
			}
		}
		return No
	case "--ctproto":
		return yesIf(o.Value() == strconv.Itoa(int(p.Proto)))
	case "--ctorigdstport":
		return inPorts(o.Value(), p.Port)
	case "--ctdir":
		return yesIf(o.Value() == "ORIGINAL")
	case "--ctstatus":
		if p.Later {
			return Some
		}
		return No // no reply was seen, and it is not confirmed
	case "--ctorigsrcport", "--ctreplsrc", "--ctrepldst", "--ctreplsrcport", "--ctrepldstport", "--ctexpire":
		return Some
	}
	return Unknown // an address that could not be read
}
