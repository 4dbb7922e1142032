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

// Claims returns the mappings that are in place, read from the rules alone.
func (l *Layout) Claims() []hostport.Claim {
	var out []hostport.Claim
	for _, name := range l.named(isDNAT) {
		var passed hostport.Attachment // as far as carves are concerned
		for _, r := range l.chains[name] {
			s := r.decoded()
			m, to, ok := s.Mapping(l.Family)
			if !ok {
				if _, link := s.Option("-i"); link {
					recoverSpared(&passed, s)
				}
				continue
			}
			c := hostport.Claim{Key: keyOf(name), Mapping: m, Target: to, NotBy: passed.PassedBy(m), Packets: r.packets()}
			c.Owner, _ = hostport.ParseComment(s.Comment())
			_, c.Part = l.chains[condPrefix+c.Key]
			out = append(out, c)
		}
	}
	return out
}

// Recover rebuilds as much of an attachment as its rules tell: all but the words of its
// conditions. It is not ok if none of them is there.
func (l *Layout) Recover(key string) (a hostport.Attachment, ok bool) {
	var pod netip.Addr
	for _, r := range l.chains[dnatPrefix+key] {
		s := r.decoded()
		if o, ours := hostport.ParseComment(s.Comment()); ours {
			a.Owner = o
		}
		if m, to, maps := s.Mapping(l.Family); maps {
			pod = to.Addr()
			a.Mappings = append(a.Mappings, m)
		} else if x, ok := flowOf(s); ok {
			a.Flows = append(a.Flows, x)
		} else if s.Target == "RETURN" {
			recoverSpared(&a, s)
		}
	}
	bits := pod.BitLen()
	for _, r := range l.chains[masqPrefix+key] {
		s := r.decoded()
		if s.Target != "MASQUERADE" {
			continue
		}
		link, onLink := linkOf(s)
		src := r.source(l.Family)
		switch {
		case onLink:
			a.Localhost, a.Link = true, link
		case src.Bits() == 0:
			a.MasqAll = true
		case src.Contains(pod):
			a.SNAT, bits = true, src.Bits()
		}
	}
	if pod.IsValid() {
		a.Pods = []netip.Prefix{netip.PrefixFrom(pod, bits)}
	}
	a.Networks = l.networks(key)
	return a, l.Has(key)
}

// Links are the attachments that a link leads to from localhost, by its name.
func (l *Layout) Links() map[string][]hostport.Key {
	out := map[string][]hostport.Key{}
	for chain, rules := range l.chains {
		if l.Family != hostport.IPv4 || !strings.HasPrefix(chain, masqPrefix) {
			continue
		}
		for _, r := range slices.Backward(rules) { // they are the last
			if !r.source(l.Family).Addr().IsLoopback() {
				continue
			}
			if link, ok := linkOf(r.decoded()); ok {
				out[link] = append(out[link], keyOf(chain))
				break
			}
		}
	}
	return out
}

// flowOf reads a rule of flowRules.
func flowOf(s iptsave.Spec) (x hostport.Flow, ok bool) {
	end := func(addr, port string) (netip.AddrPort, bool) {
		a, _ := s.Option(addr)
		p, _ := s.Option(port)
		n, err1 := netip.ParsePrefix(a.Value())
		number, err2 := strconv.ParseUint(p.Value(), 10, 16)
		return netip.AddrPortFrom(n.Addr(), uint16(number)), err1 == nil && err2 == nil
	}
	var from, to bool
	x.Peer, from = end("-s", "--sport")
	x.Local, to = end("-d", "--dport")
	return x, from && to && s.Target == "RETURN"
}

// recoverSpared adds what a rule leaves alone to carves and excludes, but for what all
// attachments leave alone.
func recoverSpared(a *hostport.Attachment, s iptsave.Spec) {
	d, _ := s.Option("-d")
	n, err := netip.ParsePrefix(d.Value())
	switch _, ported := s.Option("--dport"); {
	case err != nil:
	case ported:
		if port, p, ok := s.Port(); ok {
			link, _ := s.Option("-i")
			if c := (hostport.Carve{Addr: n.Addr(), Proto: p, Port: port, Link: link.Value()}); !slices.Contains(a.Carves, c) {
				a.Carves = append(a.Carves, c)
			}
		}
	case n.Bits() == 8 && n.Addr().IsLoopback(), n.IsSingleIP() && n.Addr() == netip.IPv6Loopback(), n.Bits() == 10 && n.Addr().IsLinkLocalUnicast():
	default:
		a.Excludes = append(a.Excludes, n)
	}
}

// networks are the destinations for which the attachment's connections are
// masqueraded, as far as they are not loopback.
func (l *Layout) networks(key string) []netip.Prefix {
	var out []netip.Prefix
	add := func(r *rule, not bool) {
		for _, o := range r.decoded().Matches {
			if p, ok := iptsave.Network(o.Value()); ok && o.Name == "--ctorigdst" && o.Not == not && !p.Addr().IsLoopback() {
				out = append(out, p)
			}
		}
	}
	for _, r := range l.chains[masqPrefix+key] {
		add(r, true)
	}
	for _, r := range l.shared(masq).of[key] {
		add(r, false)
	}
	return out
}
