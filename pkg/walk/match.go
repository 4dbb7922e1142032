// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A Tri says how many packets of the set match.
type Tri uint8

// Some and Unknown both leave the question open. Some means that the rule was
// understood and depends on what the set leaves free (the source, a counter);
// Unknown means that it was not understood.
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

// A rule is a decoded rule with its address match ready, which rejects nearly
// all of kube-proxy's rules at once.
type rule struct {
	spec  iptsave.Spec
	text  string
	dst   netip.Prefix
	notIn bool
}

func compile(r iptsave.Rule) rule {
	c := rule{spec: r.Spec(), text: r.Text}
	if o, ok := c.spec.Option("-d"); ok {
		c.dst, _ = parseNet(o.Value())
		c.notIn = o.Not
	}
	return c
}

// match combines the answers of all options: a rule matches if all do.
func (r rule) match(p Packet) Tri {
	if r.dst.IsValid() && r.dst.Contains(p.Dst) == r.notIn {
		return No
	}
	all := Yes
	for _, o := range r.spec.Matches {
		m := matchOption(o, p)
		if o.Not {
			m = m.not()
		}
		if m == No {
			return No
		}
		all = weaker(all, m)
	}
	return all
}

// matchOption answers for o without its negation.
func matchOption(o iptsave.Option, p Packet) Tri {
	switch o.Name {
	case "-m":
		return knownModule(o.Module)
	case "-p":
		return matchProto(o.Value(), p.Proto)
	case "-d":
		n, ok := parseNet(o.Value())
		if !ok {
			return Unknown
		}
		return yesIf(n.Contains(p.Dst))
	case "-s":
		return matchAny(o.Value())
	case "-i":
		return matchIn(o.Value(), p)
	case "-o":
		return matchOut(o.Value(), p)
	case "-f":
		return Some
	}
	return matchModule(o, p)
}

func matchModule(o iptsave.Option, p Packet) Tri {
	switch o.Module {
	case "tcp", "udp", "sctp", "multiport":
		return matchPorts(o, p)
	case "addrtype":
		return matchAddrType(o)
	case "conntrack", "state":
		return matchConntrack(o, p)
	case "iprange":
		return matchRange(o, p)
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
	case "tcp", "udp", "sctp", "icmp", "icmp6", "multiport", "addrtype", "conntrack", "state",
		"iprange", "comment", "mark", "connmark", "set":
		return Yes
	}
	if freeModule(name) {
		return Some
	}
	return Unknown
}

// freeModule lists the matches on what the packet set leaves free: time,
// chance, counters, the source and its link layer, the packet's other fields.
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
	switch name {
	case "all", "0":
		return Yes
	case proto.String(), strconv.Itoa(int(proto)):
		return Yes
	}
	return No
}

// matchAny answers for a match on the source, which is free: only a prefix of
// length 0 takes all of it.
func matchAny(s string) Tri {
	n, ok := parseNet(s)
	switch {
	case !ok:
		return Unknown
	case n.Bits() == 0:
		return Yes
	}
	return Some
}

// matchIn: a packet that arrives through lo was NATed in OUTPUT already, so its
// connection is not NEW in PREROUTING.
func matchIn(name string, p Packet) Tri {
	if name == "+" {
		return Yes
	}
	if p.Hook == Output || name == "lo" {
		return No
	}
	return Some
}

// matchOut: a local process reaches a local address through lo.
func matchOut(name string, p Packet) Tri {
	if name == "+" {
		return Yes
	}
	if p.Absent {
		return Some
	}
	prefix, wild := strings.CutSuffix(name, "+")
	return yesIf(p.Hook == Output && (name == "lo" || wild && strings.HasPrefix("lo", prefix)))
}

func matchPorts(o iptsave.Option, p Packet) Tri {
	switch o.Name {
	case "--dport", "--dports":
		return inPorts(o.Value(), p.Port)
	case "--ports": // either port
		if m := inPorts(o.Value(), p.Port); m != No {
			return m
		}
		return Some
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

func matchAddrType(o iptsave.Option) Tri {
	types := strings.Split(o.Value(), ",")
	switch o.Name {
	case "--dst-type":
		for _, t := range types {
			if t == "LOCAL" {
				return Yes
			}
		}
		return No
	case "--src-type":
		return Some
	}
	return Unknown // --limit-iface-in, --limit-iface-out
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
		if strings.Contains(o.Value(), "RELATED") {
			return Some // an expected connection (FTP data) passes nat as well
		}
		return No
	case "--ctproto":
		return matchProto(o.Value(), p.Proto)
	case "--ctorigdst":
		n, ok := parseNet(o.Value())
		if !ok {
			return Unknown
		}
		return yesIf(n.Contains(p.Dst))
	case "--ctorigdstport":
		return inPorts(o.Value(), p.Port)
	case "--ctorigsrc", "--ctorigsrcport", "--ctreplsrc", "--ctrepldst", "--ctreplsrcport", "--ctrepldstport":
		return Some
	case "--ctdir":
		return yesIf(o.Value() == "ORIGINAL")
	}
	return Unknown // --ctstatus, --ctexpire
}

func matchRange(o iptsave.Option, p Packet) Tri {
	if o.Name == "--src-range" {
		return Some
	}
	lo, hi, _ := strings.Cut(o.Value(), "-")
	from, err1 := netip.ParseAddr(lo)
	to, err2 := netip.ParseAddr(hi)
	if o.Name != "--dst-range" || err1 != nil || err2 != nil {
		return Unknown
	}
	return yesIf(from.Compare(p.Dst) <= 0 && p.Dst.Compare(to) <= 0)
}

// parseNet reads "10.0.0.0/8", "10.0.0.1" and "10.0.0.0/255.0.0.0". A mask with
// holes (10.0.0.1/255.0.0.255) is not a prefix and stays unknown.
func parseNet(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	host, mask, masked := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}, false
	}
	if !masked {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || m.BitLen() != a.BitLen() {
		return netip.Prefix{}, false
	}
	bits := 0
	seenZero := false
	for _, b := range m.AsSlice() {
		for i := 7; i >= 0; i-- {
			one := b>>i&1 == 1
			if one && seenZero {
				return netip.Prefix{}, false
			}
			seenZero = seenZero || !one
			if one {
				bits++
			}
		}
	}
	return netip.PrefixFrom(a, bits).Masked(), true
}
