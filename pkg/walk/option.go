// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// freeModule lists the matches on what the packet set leaves free: time,
// chance, counters and rates, a hash of the source, its link layer, the packet's other
// fields. Some packet may well meet them.
func freeModule(name string) bool {
	switch name {
	case "statistic", "limit", "hashlimit", "connlimit", "connbytes", "nfacct", "quota", "time",
		"physdev", "mac", "owner", "cgroup", "pkttype", "length", "ttl", "hl", "tos", "dscp", "ecn",
		"tcpmss", "cpu", "cluster", "rateest", "policy", "realm", "rpfilter", "connlabel", "helper",
		"string", "u32", "bpf", "geoip", "osf", "esp", "ah", "frag", "rt", "hbh", "dst", "mh", "srh", "ipv6header", "eui64":
		return true
	}
	return false
}

// optionTest says what o means for p, negation included. Limited means that addrtype
// asks for one interface only, which the walk does not know.
func optionTest(o iptsave.Option, p Packet, limited bool) test {
	if c, ok := srcType(o, p); ok && !limited {
		return testOn(c)
	}
	if names, ok := p.inGroup(o); ok {
		return testOf(byName(names), o.Not)
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
	case "devgroup":
		return Some
	}
	return Unknown
}

func matchPorts(o iptsave.Option, p Packet) Tri {
	asked := map[bool][]string{false: {"--dport", "--dports"}, true: {"--sport", "--sports"}}[p.Answer]
	switch {
	case slices.Contains(asked, o.Name):
		return p.inPorts(o.Value())
	case o.Name == "--ports": // either port
		if m := p.inPorts(o.Value()); m != No {
			return m
		}
	}
	// The other port, --tcp-flags, --syn, --chunk-types: free.
	return Some
}

// inPorts compares the port of the end that is asked.
func (p Packet) inPorts(list string) Tri {
	port := p.port()
	if port == 0 {
		return Some
	}
	return inPorts(list, port)
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
// UNICAST and MULTICAST are properties of the address that must all hold, and of
// LOCAL, ANYCAST and UNREACHABLE, which are looked up, one must
// (net/netfilter/xt_addrtype.c, match_type6).
func matchAddrType(o iptsave.Option, p Packet) Tri {
	f := p.Family()
	switch here, known := p.local(o.Name == "--src-type"); {
	case o.Name != "--dst-type" && o.Name != "--src-type":
		return Unknown // --limit-iface-in, --limit-iface-out
	case !known:
		return Some
	case !here && o.Value() == "LOCAL":
		return No
	case !here: // it is somebody else's address
		return Some
	}
	types := strings.Split(o.Value(), ",")
	if f == hostport.IPv6 {
		return localType6(types)
	}
	return yesIf(slices.Contains(types, "LOCAL"))
}

// localType6 is matchAddrType for an address of the node, of IPv6. Of the types that are
// looked up one is enough.
func localType6(types []string) Tri {
	all := Yes
	for _, t := range types {
		switch t {
		case "LOCAL", "UNICAST":
		case "MULTICAST", "UNSPEC":
			return No
		case "ANYCAST", "UNREACHABLE":
			if !slices.Contains(types, "LOCAL") {
				all = weaker(all, Some)
			}
		default:
			all = Unknown
		}
	}
	return all
}

// matchConntrack: the packets open a connection, or answer one.
func matchConntrack(o iptsave.Option, p Packet) Tri {
	switch o.Name {
	case "--ctstate":
		if !p.Answer && !p.Error {
			return p.hasState(o, "NEW")
		}
		return p.hasState(o, "ESTABLISHED")
	case "--ctproto":
		return yesIf(o.Value() == strconv.Itoa(int(p.Proto)))
	case "--ctorigdstport":
		return inPorts(o.Value(), p.Port)
	case "--ctdir":
		return yesIf(o.Value() == map[bool]string{false: "ORIGINAL", true: "REPLY"}[p.Answer])
	case "--ctstatus":
		if p.Answer || p.Later {
			return Some
		}
		return No // no reply was seen, and nothing is confirmed
	case "--ctorigsrc", "--ctorigsrcport", "--ctreplsrc", "--ctrepldst", "--ctreplsrcport", "--ctrepldstport", "--ctexpire":
		return Some
	}
	return Unknown // an address that could not be read
}

// hasState answers "--ctstate", without its negation, for packets of one state. DNAT is one of
// connections that were translated: later packets of it are of one that the mapping took, or not.
// SNAT is one of those that somebody masqueraded, as portguard does.
func (p Packet) hasState(o iptsave.Option, name string) Tri {
	states := strings.Split(o.Value(), ",")
	if p.Error {
		name = "RELATED"
	}
	switch {
	case slices.Contains(states, name), slices.Contains(states, "DNAT") && p.Moved:
		return Yes
	case slices.Contains(states, "SNAT") && p.Answer, slices.Contains(states, "DNAT") && p.Later:
		return Some
	}
	return No
}
