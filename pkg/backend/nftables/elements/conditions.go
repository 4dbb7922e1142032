// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// chainPrefix begins the names of the chains of an attachment with conditions. The
// rest is a digest of the rules: other conditions are another chain, so that the
// old one need not be touched before the new one is in use.
func chainPrefix(key hostport.Key) string { return "if-" + key }

// conditions is a's chain. It is not ok for an attachment without conditions.
func conditions(a hostport.Attachment) (c nfttable.Conditions, ok bool) {
	for _, fam := range hostport.Families() {
		if pod, has := a.Pod(fam); has && len(a.Conditions(fam)) > 0 {
			c.Rules = append(c.Rules, conditionsOf(a, fam, pod.Addr())...)
		}
	}
	for _, r := range c.Rules {
		shape := nfttable.Translates
		if strings.HasSuffix(r, " return") {
			shape = nfttable.Returns
		}
		c.Shape = append(c.Shape, shape)
	}
	c.Name = fmt.Sprintf("%s-%08x", chainPrefix(a.Owner.Key()), crc32.ChecksumIEEE([]byte(strings.Join(c.Rules, "\n"))))
	return c, len(c.Rules) > 0
}

// conditionsOf are the rules of one family: those for one address come first. Nothing in
// them but the conditions is somebody else's choice: whose they are, the chain's name tells
// and the elements that lead to it.
func conditionsOf(a hostport.Attachment, fam hostport.Family, pod netip.Addr) []string {
	word := map[hostport.Family]string{hostport.IPv4: "ip", hostport.IPv6: "ip6"}[fam]
	var specific, wildcard []string
	if links := slices.ContainsFunc(a.Of(fam), func(m hostport.Mapping) bool { return len(a.PassedBy(m)) > 0 }); links {
		specific = append(specific, fmt.Sprintf("iifname . %s daddr . meta l4proto . th dport @%s return", word, info(fam).name("bylink")))
	}
	for _, m := range a.Of(fam) {
		tail := fmt.Sprintf("%s dport %d %s dnat %s to %s", m.Proto, m.HostPort, strings.Join(a.Conditions(fam), " "), word,
			netip.AddrPortFrom(pod, m.ContainerPort))
		if !m.Wildcard() {
			specific = append(specific, fmt.Sprintf("%s daddr %s %s", word, m.HostIP, tail))
			continue
		}
		if fam == hostport.IPv4 && mapsLocalhost(a) && slices.Contains(a.Carves, localhostCarve(m)) {
			wildcard = append(wildcard, fmt.Sprintf("ip daddr 127.0.0.1 %s dport %d return", m.Proto, m.HostPort))
		}
		nfproto := map[hostport.Family]string{hostport.IPv4: "ipv4", hostport.IPv6: "ipv6"}[fam]
		wildcard = append(wildcard, "meta nfproto "+nfproto+" "+tail)
	}
	if len(wildcard) == 0 {
		return specific
	}
	for _, never := range wildcardReturns(a, fam) {
		specific = append(specific, fmt.Sprintf("%s daddr %s return", word, never))
	}
	specific = append(specific, fmt.Sprintf("meta l4proto . th dport . %s daddr @%s return", word, info(fam).name("spared")))
	return append(specific, wildcard...)
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
