// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// maxMultiport is XT_MULTI_PORTS, the most ports one multiport match takes.
const maxMultiport = 15

// dnatRules are the attachment's chain: specific addresses first, then what
// wildcard mappings leave alone, then the wildcards.
func dnatRules(a hostport.Attachment, f hostport.Family) []string {
	pod, _ := a.Pod(f)
	var specific, wildcard []string
	for _, m := range a.Of(f) {
		args := []string{"-p", m.Proto.String(), "-m", m.Proto.String(), "--dport", strconv.Itoa(int(m.HostPort)),
			"-m", "comment", "--comment", a.Owner.Comment(),
			"-j", "DNAT", "--to-destination", netip.AddrPortFrom(pod.Addr(), m.ContainerPort).String()}
		if m.Wildcard() {
			wildcard = append(wildcard, iptsave.Join(args...))
		} else {
			specific = append(specific, iptsave.Join(append([]string{"-d", host(m.HostIP)}, args...)...))
		}
	}
	if len(wildcard) == 0 {
		return specific
	}
	return slices.Concat(specific, spareRules(a, f), wildcard)
}

// spareRules return before the wildcard mappings. Attachment.Spared says the same.
func spareRules(a hostport.Attachment, f hostport.Family) []string {
	tail := []string{"-m", "comment", "--comment", a.Owner.Comment(), "-j", "RETURN"}
	var out []string
	spare := func(match ...string) { out = append(out, iptsave.Join(append(match, tail...)...)) }
	switch {
	case f == hostport.IPv6:
		spare("-d", "::1/128")
		spare("-d", "fe80::/10")
	case a.Localhost: // the prefix is what most packets are compared with
		spare("-d", "127.0.0.0/8", "-m", "iprange", "--dst-range", "127.0.0.2-127.255.255.255")
	default:
		spare("-d", "127.0.0.0/8")
	}
	for _, p := range a.Excludes {
		if hostport.FamilyOf(p.Addr()) == f {
			spare("-d", p.String())
		}
	}
	for _, c := range a.Carves {
		if hostport.FamilyOf(c.Addr) == f {
			spare("-d", host(c.Addr), "-p", c.Proto.String(), "-m", c.Proto.String(), "--dport", strconv.Itoa(int(c.Port)))
		}
	}
	return out
}

// masqRules masquerade what would otherwise be answered past the node: hairpin
// and neighbours on the pod's network, and 127.0.0.1. They match only
// connections that were translated from this hostPort to this pod, so they need
// no packet marks.
func masqRules(a hostport.Attachment, f hostport.Family) []string {
	sources := masqSources(a, f)
	if len(sources) == 0 {
		return nil
	}
	out := elsewhere(a, f)
	for _, src := range sources {
		for _, m := range a.Of(f) {
			args := append(slices.Clone(src), "-p", m.Proto.String(), "-m", m.Proto.String(), "--dport", strconv.Itoa(int(m.ContainerPort)), "-m", "conntrack")
			if !m.Wildcard() {
				args = append(args, "--ctorigdst", host(m.HostIP))
			}
			args = append(args, "--ctorigdstport", strconv.Itoa(int(m.HostPort)),
				"-m", "comment", "--comment", a.Owner.Comment(), "-j", "MASQUERADE")
			out = append(out, iptsave.Join(args...))
		}
	}
	return out
}

// masqSources are the matches on who is masqueraded.
func masqSources(a hostport.Attachment, f hostport.Family) [][]string {
	pod, _ := a.Pod(f)
	var out [][]string
	switch {
	case a.MasqAll:
		out = append(out, nil)
	case a.SNAT:
		out = append(out, []string{"-s", pod.Masked().String()})
	}
	if f == hostport.IPv4 && a.Localhost {
		// Also with masqAll: the link named here is how the guard is known to
		// be in use.
		out = append(out, []string{"-s", "127.0.0.0/8", "-o", a.Link})
	}
	return out
}

// mostNetworks is the most networks that one rule compares with: the expressions of a
// rule take 4095 bytes (dlen of struct nft_rule has 12 bits), and a conntrack match is
// 180 of them.
const mostNetworks = 16

// elsewhere returns for connections to none of the networks whose addresses are the
// node's. One to a Service may have the same port and lead to the same pod; its
// destination tells it from one to the hostPort. One rule, because the kernel
// validates a chain for each rule that leads to it.
func elsewhere(a hostport.Attachment, f hostport.Family) []string {
	nets := masqNetworks(a, f)
	if len(nets) == 0 || len(nets) > mostNetworks {
		return nil
	}
	var args []string
	for _, n := range nets {
		args = append(args, "-m", "conntrack", "!", "--ctorigdst", n.String())
	}
	return []string{iptsave.Join(append(args, "-m", "comment", "--comment", a.Owner.Comment(), "-j", "RETURN")...)}
}

// masqJumps lead from the shared chain to the attachment's masquerade rules: for
// everything to the pod, or each of so many networks that one rule could not.
func masqJumps(a hostport.Attachment, f hostport.Family) []string {
	pod, _ := a.Pod(f)
	nets := masqNetworks(a, f)
	args := []string{"-d", host(pod.Addr())}
	tail := []string{"-m", "comment", "--comment", a.Owner.Comment(), "-j", masqPrefix + a.Owner.Key()}
	if len(nets) > 0 && len(nets) <= mostNetworks {
		return []string{iptsave.Join(slices.Concat(args, tail)...)}
	}
	var out []string
	for _, n := range nets {
		out = append(out, iptsave.Join(slices.Concat(args, []string{"-m", "conntrack", "--ctorigdst", n.String()}, tail)...))
	}
	return out
}

func masqNetworks(a hostport.Attachment, f hostport.Family) []netip.Prefix {
	var out []netip.Prefix
	add := func(p netip.Prefix) {
		covers := func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) }
		if hostport.FamilyOf(p.Addr()) == f && !slices.ContainsFunc(out, covers) {
			out = append(out, p)
		}
	}
	for _, p := range a.Networks {
		add(p)
	}
	if a.Localhost {
		add(netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8))
	}
	for _, m := range a.Of(f) {
		if !m.Wildcard() {
			add(netip.PrefixFrom(m.HostIP, m.HostIP.BitLen()))
		}
	}
	return out
}

// guardRule drops what other hosts send to 127.0.0.0/8 over a link on which
// route_localnet lets it in (CVE-2020-8558). The comment remembers whether the
// sysctl was on before us.
func guardRule(link string, was bool) string {
	n := 0
	if was {
		n = 1
	}
	return iptsave.Join("-i", link, "-m", "comment", "--comment", fmt.Sprintf("%s route_localnet was %d", sharedComment, n), "-j", "DROP")
}

// serviceRules leave the Services of kube-proxy's ipvs mode alone. There every
// ClusterIP is a local address and a NodePort rule only sets a mark, so the
// order of the jumps protects neither.
func serviceRules(sets []Set) []string {
	var out []string
	for _, s := range sets {
		var args []string
		if s.Proto != 0 {
			args = append(args, "-p", s.Proto.String())
		}
		args = append(args, "-m", "set", "--match-set", s.Name, s.Dims, "-m", "comment", "--comment", sharedComment, "-j", "RETURN")
		out = append(out, iptsave.Join(args...))
	}
	return out
}

// A Set is one of kube-proxy's ipsets: its name, the protocol it is for (0 for
// any) and the dimensions to match ("dst" or "dst,dst").
type Set struct {
	Name  string
	Proto hostport.Proto
	Dims  string
}

// Addresses reports whether s holds the addresses of Services (KUBE-IPVS-IPS),
// not ports.
func (s Set) Addresses() bool { return s.Proto == 0 }

// ServiceSets are the ipsets of kube-proxy's ipvs mode whose members no
// hostPort may take (kubernetes pkg/proxy/ipvs/ipset.go). IPv6 names are cut at
// 31 characters.
func ServiceSets(f hostport.Family) []Set {
	sets := []Set{
		{"IPVS-IPS", 0, "dst"},
		{"NODE-PORT-TCP", hostport.TCP, "dst"},
		{"NODE-PORT-UDP", hostport.UDP, "dst"},
		{"NODE-PORT-SCTP-HASH", hostport.SCTP, "dst,dst"},
	}
	for i := range sets {
		prefix := "KUBE-"
		if f == hostport.IPv6 {
			prefix = "KUBE-6-"
		}
		sets[i].Name = (prefix + sets[i].Name)[:min(31, len(prefix+sets[i].Name))]
	}
	return sets
}

// host writes an address as the prefix that iptables-save prints.
func host(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }
