// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// chainPrefix begins the names of the chains of an attachment with conditions. The
// rest is a digest of what the rules do: other conditions are another chain, so that the
// old one need not be touched before the new one is in use.
func chainPrefix(key hostport.Key) string { return "if-" + key }

// conditions is a's chain. It is not ok for an attachment without conditions.
func conditions(a hostport.Attachment) (c nfttable.Conditions, ok bool) {
	var what []string
	for _, fam := range hostport.Families() {
		pod, has := a.Pod(fam)
		if !has || len(a.Conditions(fam)) == 0 {
			continue
		}
		for _, r := range conditionsOf(a, fam, pod.Addr()) {
			what = append(what, r.match+" "+r.then)
			shape, rule := nfttable.Returns, r.match+" "+r.then
			if r.of != "" {
				// A counter of the map would make nft 0.9.8 crash.
				shape, rule = nfttable.Translates, fmt.Sprintf("%s counter %s comment %q", r.match, r.then, r.of)
			}
			c.Rules, c.Shape = append(c.Rules, rule), append(c.Shape, shape)
		}
	}
	digest := fnv.New32a()
	_, _ = digest.Write([]byte(strings.Join(what, "\n")))
	c.Name = fmt.Sprintf("%s-%08x", chainPrefix(a.Owner.Key()), digest.Sum32())
	return c, len(c.Rules) > 0
}

// A conditional is one rule of a chain with conditions. One that translates is of the
// element that leads to the chain: of is its key, as a text.
type conditional struct{ match, then, of string }

func returning(format string, args ...any) conditional {
	return conditional{match: fmt.Sprintf(format, args...), then: "return"}
}

// conditionsOf are the rules of one family: those for one address come first. Nothing in
// them but the conditions is somebody else's choice: whose they are, the chain's name tells
// and the elements that lead to it.
func conditionsOf(a hostport.Attachment, fam hostport.Family, pod netip.Addr) []conditional {
	word := map[hostport.Family]string{hostport.IPv4: "ip", hostport.IPv6: "ip6"}[fam]
	spec := Spec()
	var specific, wildcard []conditional
	if links := slices.ContainsFunc(a.Of(fam), func(m hostport.Mapping) bool { return len(a.PassedBy(m)) > 0 }); links {
		specific = append(specific, returning("iifname . %s daddr . meta l4proto . th dport @%s", word, info(fam).name("bylink")))
	}
	for _, m := range a.Of(fam) {
		r := conditional{match: fmt.Sprintf("%s dport %d %s", m.Proto, m.HostPort, strings.Join(a.Conditions(fam), " ")),
			then: fmt.Sprintf("dnat %s to %s", word, netip.AddrPortFrom(pod, m.ContainerPort)), of: spec.Key(leading(a, m))}
		if !m.Wildcard() {
			r.match = fmt.Sprintf("%s daddr %s %s", word, m.HostIP, r.match)
			specific = append(specific, r)
			continue
		}
		if fam == hostport.IPv4 && mapsLocalhost(a) && slices.Contains(a.Carves, localhostCarve(m)) {
			wildcard = append(wildcard, returning("ip daddr 127.0.0.1 %s dport %d", m.Proto, m.HostPort))
		}
		r.match = "meta nfproto " + map[hostport.Family]string{hostport.IPv4: "ipv4", hostport.IPv6: "ipv6"}[fam] + " " + r.match
		wildcard = append(wildcard, r)
	}
	if len(wildcard) == 0 {
		return specific
	}
	for _, never := range wildcardReturns(a, fam) {
		specific = append(specific, returning("%s daddr %s", word, never))
	}
	specific = append(specific, returning("meta l4proto . th dport . %s daddr @%s", word, info(fam).name("spared")))
	return append(specific, wildcard...)
}

// leading is the element that leads to the chain with the rule of m. One address of a port
// that a maps on all of them has none of its own.
func leading(a hostport.Attachment, m hostport.Mapping) nfttable.Element {
	if wildcardToo(a, m) {
		m.HostIP = netip.Addr{}
	}
	return led(m)
}

// Meant fails if nft has made anything but matches of the conditions in want. Nothing
// leads to their chains yet.
func Meant(want, now *nfttable.Table) error {
	for _, name := range want.Chains() {
		is, _ := now.Conditions(name)
		if c, _ := want.Conditions(name); !slices.Equal(is.Shape, c.Shape) {
			return fmt.Errorf("conditions may only restrict which packets are mapped, and nft made of them %q", is.Shape)
		}
	}
	return nil
}

// wildcardReturns are the destinations that a's chain leaves alone.
func wildcardReturns(a hostport.Attachment, f hostport.Family) []string {
	if f == hostport.IPv4 && mapsLocalhost(a) {
		return []string{"127.0.0.2-127.255.255.255"}
	}
	return neverWildcard(f)
}
