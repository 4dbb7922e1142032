// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// maxMultiport is XT_MULTI_PORTS, the most ports one multiport match takes.
const maxMultiport = 15

// ownChains are the chains of an attachment alone.
func ownChains(a hostport.Attachment, f hostport.Family) map[string][]*rule {
	out, key := map[string][]*rule{}, a.Owner.Key()
	if !present(a, f) {
		return out
	}
	out[dnatPrefix+key] = dnatRules(a, f)
	if len(a.Conditions(f)) > 0 {
		out[condPrefix+key] = portRules(a, f, a.Conditions(f), dnatPrefix+key)
	}
	if len(masqJumps(a, f)) > 0 {
		out[masqPrefix+key] = masqRules(a, f)
	}
	return out
}

// present reports whether an attachment has anything in the rules of a family.
func present(a hostport.Attachment, f hostport.Family) bool {
	_, ok := a.Pod(f)
	return ok && len(a.Of(f)) > 0
}

// entries are the rules of the shared chain that lead to an attachment, or to its
// conditions.
func entries(a hostport.Attachment, f hostport.Family) []*rule {
	switch key := a.Owner.Key(); {
	case !present(a, f):
		return nil
	case len(a.Conditions(f)) > 0:
		return portRules(a, f, nil, condPrefix+key)
	default:
		return portRules(a, f, nil, dnatPrefix+key)
	}
}

// portRules lead to a chain: one rule a protocol and 15 ports. A packet that does not
// meet the conditions goes on to the next attachment.
func portRules(a hostport.Attachment, f hostport.Family, conditions []string, chain string) []*rule {
	var out []*rule
	for _, proto := range []hostport.Proto{hostport.TCP, hostport.UDP, hostport.SCTP} {
		var ports []string
		seen := map[uint16]bool{}
		for _, m := range a.Of(f) {
			if m.Proto == proto && !seen[m.HostPort] {
				seen[m.HostPort] = true
				ports = append(ports, strconv.Itoa(int(m.HostPort)))
			}
		}
		for chunk := range slices.Chunk(ports, maxMultiport) {
			args := []string{"-p", proto.String(), "-m", "multiport", "--dports", strings.Join(chunk, ",")}
			if len(chunk) == 1 && len(conditions) == 0 { // iptables-nft has an expression for it
				args = []string{"-p", proto.String(), "-m", proto.String(), "--dport", chunk[0]}
			}
			// The comment, which is a match too, stands behind the ports: most packets
			// get no further.
			args = append(append(args, "-m", "comment", "--comment", a.Owner.Comment()), conditions...)
			out = append(out, newRule(append(args, "-j", chain)...))
		}
	}
	return out
}

// dnatRules are the attachment's mappings, behind what none of them takes: specific
// addresses first, then what wildcard mappings leave alone, then the wildcards.
func dnatRules(a hostport.Attachment, f hostport.Family) []*rule {
	pod, _ := a.Pod(f)
	var specific, wildcard []*rule
	for _, m := range a.Of(f) {
		args := []string{"-p", m.Proto.String(), "-m", m.Proto.String(), "--dport", strconv.Itoa(int(m.HostPort)),
			"-m", "comment", "--comment", a.Owner.Comment(),
			"-j", "DNAT", "--to-destination", netip.AddrPortFrom(pod.Addr(), m.ContainerPort).String()}
		if m.Wildcard() {
			wildcard = append(wildcard, newRule(args...))
		} else {
			specific = append(specific, newRule(append([]string{"-d", host(m.HostIP)}, args...)...))
		}
	}
	if len(wildcard) > 0 {
		wildcard = append(spareRules(a, f), wildcard...)
	}
	return slices.Concat(flowRules(a, f), linkRules(a, f), specific, wildcard)
}

// linkRules return before all mappings what comes in by links and is left to listeners there.
// In OUTPUT no packet has come in.
func linkRules(a hostport.Attachment, f hostport.Family) []*rule {
	var out []*rule
	for _, m := range a.Of(f) {
		for _, link := range a.PassedBy(m) {
			out = append(out, newRule("-d", host(m.HostIP), "-i", link, "-p", m.Proto.String(), "-m", m.Proto.String(), "--dport", strconv.Itoa(int(m.HostPort)),
				"-m", "comment", "--comment", a.Owner.Comment(), "-j", "RETURN"))
		}
	}
	return out
}

// flowRules return before all mappings what connected UDP sockets of the node receive.
func flowRules(a hostport.Attachment, f hostport.Family) []*rule {
	var out []*rule
	for _, x := range a.Flows {
		if slices.ContainsFunc(a.Of(f), x.Meets) {
			out = append(out, newRule("-s", host(x.Peer.Addr()), "-d", host(x.Local.Addr()), "-p", "udp", "-m", "udp",
				"--sport", strconv.Itoa(int(x.Peer.Port())), "--dport", strconv.Itoa(int(x.Local.Port())), "-m", "comment", "--comment", a.Owner.Comment(), "-j", "RETURN"))
		}
	}
	return out
}

// spareRules return before the wildcard mappings. Attachment.Spared says the same.
func spareRules(a hostport.Attachment, f hostport.Family) []*rule {
	tail := []string{"-m", "comment", "--comment", a.Owner.Comment(), "-j", "RETURN"}
	var out []*rule
	spare := func(match ...string) { out = append(out, newRule(append(match, tail...)...)) }
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
		if hostport.FamilyOf(c.Addr) == f && c.Link == "" {
			spare("-d", host(c.Addr), "-p", c.Proto.String(), "-m", c.Proto.String(), "--dport", strconv.Itoa(int(c.Port)))
		}
	}
	return out
}

// masqRules masquerade what would otherwise be answered past the node: hairpin
// and neighbours on the pod's network, and 127.0.0.1. They match only
// connections that were translated from this hostPort to this pod, so they need
// no packet marks.
func masqRules(a hostport.Attachment, f hostport.Family) []*rule {
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
			args = append(args, "--ctorigdstport", strconv.Itoa(int(m.HostPort)))
			if !slices.Contains(args, "--comment") {
				args = append(args, "-m", "comment", "--comment", a.Owner.Comment())
			}
			out = append(out, newRule(append(args, "-j", "MASQUERADE")...))
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
		// Also with masqAll, so that the rules tell the link.
		link := []string{"-o", a.Link}
		if !iptsave.Nameable(a.Link) { // there is but one way to the pod
			link = []string{"-m", "comment", "--comment", linkComment + hostport.Escape(a.Link)}
		}
		out = append(out, append([]string{"-s", "127.0.0.0/8"}, link...))
	}
	return out
}

// linkComment begins the comment of a rule for a link that rules cannot name.
const linkComment = sharedComment + " link "

// linkOf is the link that a rule names.
func linkOf(s iptsave.Spec) (link string, ok bool) {
	if out, ok := s.Option("-o"); ok {
		return out.Value(), true
	}
	link, ok = strings.CutPrefix(s.Comment(), linkComment)
	return hostport.Unescape(link), ok
}

// mostNetworks is the most networks that one rule compares with: the expressions of a
// rule take 4095 bytes (dlen of struct nft_rule has 12 bits), and a conntrack match is
// 180 of them.
const mostNetworks = 16

// elsewhere returns for connections to none of the networks whose addresses are the
// node's. One to a Service may have the same port and lead to the same pod; its
// destination tells it from one to the hostPort. One rule, because the kernel
// validates a chain for each rule that leads to it.
func elsewhere(a hostport.Attachment, f hostport.Family) []*rule {
	nets := masqNetworks(a, f)
	if len(nets) == 0 || len(nets) > mostNetworks {
		return nil
	}
	var args []string
	for _, n := range nets {
		args = append(args, "-m", "conntrack", "!", "--ctorigdst", n.String())
	}
	return []*rule{newRule(append(args, "-m", "comment", "--comment", a.Owner.Comment(), "-j", "RETURN")...)}
}

// masqJumps lead from the shared chain to the attachment's masquerade rules: for
// everything to the pod, or each of so many networks that one rule could not.
func masqJumps(a hostport.Attachment, f hostport.Family) []*rule {
	if !present(a, f) || len(masqSources(a, f)) == 0 {
		return nil
	}
	pod, _ := a.Pod(f)
	nets := masqNetworks(a, f)
	args := []string{"-d", host(pod.Addr())}
	tail := []string{"-m", "comment", "--comment", a.Owner.Comment(), "-j", masqPrefix + a.Owner.Key()}
	if len(nets) > 0 && len(nets) <= mostNetworks {
		return []*rule{newRule(slices.Concat(args, tail)...)}
	}
	var out []*rule
	for _, n := range nets {
		out = append(out, newRule(slices.Concat(args, []string{"-m", "conntrack", "--ctorigdst", n.String()}, tail)...))
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

// host writes an address as the prefix that iptables-save prints.
func host(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }
