// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A Tri says how many packets of the set match.
type Tri uint8

// Some and Unknown both leave the question open. Some means that the rule was
// understood and depends on what the set leaves free (the source, a counter);
// Unknown means that it was not understood, or hangs on a mark set elsewhere.
const (
	No Tri = iota
	Yes
	Some
	Unknown
)

// weaker returns the less certain of two answers that are not No.
func weaker(a, b Tri) Tri { return max(a, b) }

func (t Tri) not() Tri {
	switch t {
	case No:
		return Yes
	case Yes:
		return No
	case Some, Unknown:
	}
	return t
}

func yesIf(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// A rule is a decoded rule: conds are the matches the walk keeps track of, rest
// the others.
type rule struct {
	spec  iptsave.Spec
	text  string
	conds []cond
	rest  []iptsave.Option
	// limited means that addrtype asks for one interface only, which the walk
	// does not know.
	limited bool
}

func limited(o iptsave.Option) bool { return strings.HasPrefix(o.Name, "--limit-iface-") }

func compile(r iptsave.Rule, is4 bool) rule {
	c := rule{spec: r.Spec(), text: r.Text}
	for _, o := range c.spec.Matches {
		if limited(o) {
			c.limited = true
		}
		if cond, ok := condition(o, is4); ok {
			c.conds = append(c.conds, cond)
		} else {
			c.rest = append(c.rest, o)
		}
	}
	return c
}

// match splits s into the packets that may match the rule and those that may
// not; a packet can be in both. The answer is Yes if all match, and Unknown if
// it hangs on something that was not understood.
func (r rule) match(p Packet, s space) (in, out space, m Tri) {
	all := Yes
	for _, o := range r.rest {
		t := matchOption(o, p)
		if r.limited && o.Module == "addrtype" {
			t = Some
		}
		if o.Not {
			t = t.not()
		}
		if t == No {
			return nil, s, No
		}
		all = weaker(all, t)
	}
	if r.misses(s) {
		return nil, s, No
	}
	sure := true
	for _, b := range s {
		hit, miss, known := split(b, r.conds, p.Family())
		in, out, sure = append(in, hit...), append(out, miss...), sure && known
	}
	switch {
	case len(in) == 0:
		return nil, s, No
	case all != Yes:
		out = s // what leaves it open may fail for any packet
	case len(out) > 0:
		all = Some
	}
	if !sure {
		all = Unknown
	}
	return in, out, all
}

// misses rejects at once what is for other destinations, as nearly all of
// kube-proxy's rules are.
func (r rule) misses(s space) bool {
	for _, c := range r.conds {
		if c.kind != onDst || c.not {
			continue
		}
		hit := false
		for _, b := range s {
			hit = hit || overlap(b.dst, c.addrs)
		}
		if !hit {
			return true
		}
	}
	return false
}

func overlap(a, b addrset.Set) bool {
	for _, x := range a {
		for _, y := range b {
			if !x.Hi.Less(y.Lo) && !y.Hi.Less(x.Lo) {
				return true
			}
		}
	}
	return false
}

// matchOption answers for o without its negation.
func matchOption(o iptsave.Option, p Packet) Tri {
	switch o.Name {
	case "-m":
		return knownModule(o.Module)
	case "-p":
		return matchProto(o.Value(), p.Proto)
	case "-o":
		return matchOut(o.Value(), p)
	case "-f":
		return Some
	}
	switch o.Module {
	case "tcp", "udp", "sctp", "multiport":
		return matchPorts(o, p)
	case "addrtype":
		return matchAddrType(o, p.Family())
	case "conntrack", "state":
		return matchConntrack(o, p)
	case "comment":
		return Yes
	}
	if freeModule(o.Module) {
		return Some
	}
	return Unknown
}

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
	case p.Absent:
		return Some
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
func matchAddrType(o iptsave.Option, f hostport.Family) Tri {
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

// matchConntrack: the packets open a connection that nobody translated yet, so
// the original tuple is the packet's own.
func matchConntrack(o iptsave.Option, p Packet) Tri {
	switch o.Name {
	case "--ctstate", "--state":
		for s := range strings.SplitSeq(o.Value(), ",") {
			if s == "NEW" {
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
