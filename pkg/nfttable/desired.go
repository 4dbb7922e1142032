// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
)

// chainPrefix begins the names of the chains of an attachment with conditions. The
// rest is a digest of the rules: other conditions are another chain, so that the
// old one need not be touched before the new one is in use.
func chainPrefix(key string) string { return "if-" + key }

func chainName(key string, rules []string) string {
	return fmt.Sprintf("%s-%08x", chainPrefix(key), crc32.ChecksumIEEE([]byte(strings.Join(rules, "\n"))))
}

// Elements are what an attachment has in our sets, without what it shares.
func Elements(a hostport.Attachment) []Element {
	var out []Element
	tag := a.Owner.Tag()
	chain, _ := ConditionChain(a)
	seen := map[string]bool{}
	add := func(e Element) {
		e.Comment = cmp.Or(e.Comment, tag)
		if k := e.key(); !seen[k] {
			seen[k] = true
			out = append(out, e)
		}
	}
	for _, fam := range hostport.Families() {
		pod, ok := a.Pod(fam)
		if !ok {
			continue
		}
		f := info(fam)
		for _, e := range masqueraded(a, f, pod) {
			add(e)
		}
		for _, m := range a.Of(fam) {
			for _, e := range mapped(a, f, m, pod.Addr(), chain.Name) {
				add(e)
			}
			if fam == hostport.IPv4 && a.Localhost && (m.Wildcard() || m.HostIP.IsLoopback()) {
				to := localhost()
				if !m.Wildcard() {
					to = m.HostIP
				}
				add(Element{Set: setLinks, From: join(linkKey(a.Link), addrKey(to), addrKey(pod.Addr()), protoKey(m.Proto), portKey(m.HostPort))})
			}
			if m.Wildcard() {
				for _, p := range spared(a, f, m) {
					from, to := ends(p)
					add(Element{Set: f.name("spared"), From: join(protoKey(m.Proto), portKey(m.HostPort), from),
						To: join(protoKey(m.Proto), portKey(m.HostPort), to)})
				}
			}
		}
	}
	return out
}

// mapped are the elements that lead to the pod.
func mapped(a hostport.Attachment, f familyInfo, m hostport.Mapping, pod netip.Addr, chain string) []Element {
	value := join(addrKey(pod), portKey(m.ContainerPort))
	port := join(protoKey(m.Proto), portKey(m.HostPort))
	switch {
	case len(a.Conditions(f.family)) > 0:
		from, to := m.HostIP, m.HostIP
		if m.Wildcard() {
			first, last := ends(netip.PrefixFrom(f.family.Wildcard(), 0))
			from, _ = netip.AddrFromSlice(first)
			to, _ = netip.AddrFromSlice(last)
		} else if wildcardToo(a, m) {
			return nil // its rule stands in the same chain
		}
		return []Element{{Set: f.name("conditions"), From: string(addrKey(from)) + port, To: string(addrKey(to)) + port, Goto: chain}}
	case !m.Wildcard():
		return []Element{{Set: f.name("addresses"), From: string(addrKey(m.HostIP)) + port, Value: value}}
	}
	out := []Element{{Set: f.name("ports"), From: port, Value: value}}
	if f.family == hostport.IPv4 && mapsLocalhost(a) && !slices.Contains(a.Carves, localhostCarve(m)) {
		out = append(out, Element{Set: setLocalhost, From: port, Value: value})
	}
	return out
}

func localhost() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

func localhostCarve(m hostport.Mapping) hostport.Carve {
	return hostport.Carve{Addr: localhost(), Proto: m.Proto, Port: m.HostPort}
}

// mapsLocalhost reports whether a's wildcard mappings match 127.0.0.1.
func mapsLocalhost(a hostport.Attachment) bool {
	return a.Localhost && !slices.ContainsFunc(a.Excludes, func(p netip.Prefix) bool { return p.Contains(localhost()) })
}

// wildcardToo reports whether a also maps m's port on all addresses.
func wildcardToo(a hostport.Attachment, m hostport.Mapping) bool {
	return slices.ContainsFunc(a.Mappings, func(o hostport.Mapping) bool { return o.Wildcard() && o.Overlaps(m) })
}

// spared are the destinations that a wildcard mapping leaves alone, besides those
// that all do (neverWildcard) and those that another one covers.
func spared(a hostport.Attachment, f familyInfo, m hostport.Mapping) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range a.Excludes {
		if hostport.FamilyOf(p.Addr()) == f.family {
			all = append(all, p.Masked())
		}
	}
	for _, c := range a.Carves {
		if hostport.FamilyOf(c.Addr) == f.family && c.Proto == m.Proto && c.Port == m.HostPort {
			all = append(all, netip.PrefixFrom(c.Addr, c.Addr.BitLen()))
		}
	}
	for _, s := range neverWildcard(f.family) {
		all = append(all, netip.MustParsePrefix(s))
	}
	return slices.DeleteFunc(widest(all), func(p netip.Prefix) bool { return slices.Contains(neverWildcard(f.family), p.String()) })
}

// widest drops networks that another one holds: intervals of a set must not
// overlap.
func widest(all []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for i, p := range all {
		covered := func(k int, o netip.Prefix) bool {
			return o.Bits() <= p.Bits() && o.Contains(p.Addr()) && (o != p || k < i)
		}
		hold := false
		for k, o := range all {
			hold = hold || k != i && covered(k, o)
		}
		if !hold {
			out = append(out, p)
		}
	}
	return out
}

// A Chain is that of an attachment with conditions: rules as nft reads them,
// because the conditions are.
type Chain struct {
	Name  string
	Rules []string
	// Shape is what is known of the rules that the kernel has, one line each.
	Shape []string
}

// shape says of a rule what the kernel tells of it too: whether it translates, and
// the comment.
func shape(translates bool, comment string) string { return fmt.Sprint(translates, " ", comment) }

func (c Chain) shapes(tag string) []string {
	var out []string
	for _, r := range c.Rules {
		if strings.Contains(r, " comment ") {
			out = append(out, shape(true, tag))
		} else {
			out = append(out, shape(false, ""))
		}
	}
	return out
}

// ConditionChain is a's chain; ok is false for an attachment without conditions.
func ConditionChain(a hostport.Attachment) (c Chain, ok bool) {
	for _, fam := range hostport.Families() {
		pod, has := a.Pod(fam)
		conditions := strings.Join(a.Conditions(fam), " ")
		if !has || conditions == "" {
			continue
		}
		f := info(fam)
		word := map[hostport.Family]string{hostport.IPv4: "ip", hostport.IPv6: "ip6"}[fam]
		var specific, wildcard []string
		for _, m := range a.Of(fam) {
			to := netip.AddrPortFrom(pod.Addr(), m.ContainerPort)
			tail := fmt.Sprintf("%s dport %d %s dnat %s to %s comment %q", m.Proto, m.HostPort, conditions, word, to, a.Owner.Tag())
			if m.Wildcard() {
				if fam == hostport.IPv4 && mapsLocalhost(a) && slices.Contains(a.Carves, localhostCarve(m)) {
					wildcard = append(wildcard, fmt.Sprintf("ip daddr 127.0.0.1 %s dport %d return", m.Proto, m.HostPort))
				}
				wildcard = append(wildcard, "meta nfproto "+nfproto(fam)+" "+tail)
			} else {
				specific = append(specific, fmt.Sprintf("%s daddr %s %s", word, m.HostIP, tail))
			}
		}
		c.Rules = append(c.Rules, specific...)
		if len(wildcard) > 0 {
			for _, never := range wildcardReturns(a, fam) {
				c.Rules = append(c.Rules, fmt.Sprintf("%s daddr %s return", word, never))
			}
			c.Rules = append(c.Rules, fmt.Sprintf("meta l4proto . th dport . %s daddr @%s return", word, f.name("spared")))
			c.Rules = append(c.Rules, wildcard...)
		}
	}
	c.Name = chainName(a.Owner.Key(), c.Rules)
	return c, len(c.Rules) > 0
}

// wildcardReturns are the destinations that a's chain leaves alone.
func wildcardReturns(a hostport.Attachment, f hostport.Family) []string {
	if f == hostport.IPv4 && mapsLocalhost(a) {
		return []string{"127.0.0.2-127.255.255.255"}
	}
	return neverWildcard(f)
}

func nfproto(f hostport.Family) string {
	if f == hostport.IPv4 {
		return "ipv4"
	}
	return "ipv6"
}

// guardElement keeps others from 127.0.0.0/8 over a link on which route_localnet
// lets them in (CVE-2020-8558). It remembers whether the sysctl was on before.
func guardElement(link string, was bool) Element {
	n := 0
	if was {
		n = 1
	}
	return Element{Set: setGuarded, From: string(linkKey(link)), Comment: fmt.Sprintf("%s%d", guardComment, n)}
}

const guardComment = "portguard: route_localnet was "
