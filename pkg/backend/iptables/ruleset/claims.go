// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// Claims returns the mappings that are in place, read from the rules alone.
func (l *Layout) Claims() []hostport.Claim {
	var out []hostport.Claim
	nat := l.tables["nat"]
	for _, name := range nat.sortedChains() {
		if !strings.HasPrefix(name, dnatPrefix) {
			continue
		}
		for i, r := range nat.chains[name] {
			c, ok := claim(l.spec(r), l.Family)
			if !ok {
				continue
			}
			c.Key, c.Packets = keyOf(name), -1
			if counts := nat.packets[name]; i < len(counts) && counts[i] != nil {
				c.Packets = int64(*counts[i])
			}
			out = append(out, c)
		}
	}
	return out
}

// natRules are the rules of nat in chains whose name begins with prefix, in
// order, each with its chain.
func (l *Layout) natRules(prefix string) iter.Seq2[string, iptsave.Spec] {
	return func(yield func(string, iptsave.Spec) bool) {
		nat := l.tables["nat"]
		for _, name := range nat.sortedChains() {
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			for _, r := range nat.chains[name] {
				if !yield(name, l.spec(r)) {
					return
				}
			}
		}
	}
}

// claim reads one DNAT rule of ours.
func claim(s iptsave.Spec, f hostport.Family) (hostport.Claim, bool) {
	m, to, ok := s.Mapping(f)
	owner, _ := hostport.ParseComment(s.Comment())
	return hostport.Claim{Owner: owner, Mapping: m, Target: to}, ok
}

// Target returns the pod address that the attachment's rules lead to.
func (l *Layout) Target(key string) netip.Addr {
	for _, r := range l.tables["nat"].chains[dnatPrefix+key] {
		if to, err := netip.ParseAddrPort(l.spec(r).ToDestination()); err == nil {
			return to.Addr()
		}
	}
	return netip.Addr{}
}

// Carves returns what the attachment's wildcard mappings leave alone.
func (l *Layout) Carves(key string) []hostport.Carve {
	var out []hostport.Carve
	for _, r := range l.tables["nat"].chains[dnatPrefix+key] {
		s := l.spec(r)
		d, _ := s.Option("-d")
		dport, ported := s.Option("--dport")
		proto, _ := s.Option("-p")
		n, err := netip.ParsePrefix(d.Value())
		port, perr := strconv.ParseUint(dport.Value(), 10, 16)
		p, protoErr := hostport.ParseProto(proto.Value())
		if s.Target == "RETURN" && ported && err == nil && perr == nil && protoErr == nil {
			out = append(out, hostport.Carve{Addr: n.Addr(), Proto: p, Port: uint16(port)})
		}
	}
	return slices.Compact(out)
}

// Excludes returns the whole addresses that the attachment's wildcard mappings
// leave alone, besides those known and those that all attachments spare: what
// ADD found on links of infrastructure.
func (l *Layout) Excludes(key string, known []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range l.tables["nat"].chains[dnatPrefix+key] {
		s := l.spec(r)
		d, ok := s.Option("-d")
		n, err := netip.ParsePrefix(d.Value())
		_, ported := s.Option("--dport")
		if s.Target != "RETURN" || !ok || ported || err != nil || !n.IsSingleIP() || n.Addr().IsLoopback() || slices.Contains(known, n) {
			continue
		}
		out = append(out, n)
	}
	return out
}

// Networks returns the destinations for which the attachment's connections are
// masqueraded, as far as they are not its own hostIPs or loopback.
func (l *Layout) Networks(a hostport.Attachment) []netip.Prefix {
	var out []netip.Prefix
	add := func(rule string, not bool) {
		for _, o := range l.spec(rule).Matches {
			p, err := netip.ParsePrefix(canonicalPrefix(o.Value()))
			if o.Name == "--ctorigdst" && o.Not == not && err == nil && !p.Addr().IsLoopback() {
				out = append(out, p)
			}
		}
	}
	for _, r := range l.tables["nat"].chains[masqPrefix+a.Owner.Key()] {
		add(r, true)
	}
	for _, r := range l.tables["nat"].chains[masq] {
		if keyOf(l.targetOf(r)) == a.Owner.Key() {
			add(r, false)
		}
	}
	return out
}

// canonicalPrefix gives a single address its length.
func canonicalPrefix(s string) string {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	return s
}
