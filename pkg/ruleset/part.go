// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A pod that is added needs to know what leads to others on its ports, and where
// our jumps stand; not what a thousand others have. A Layout may therefore be of
// a part of our chains: of the others the names.

// Concerning splits chains of nat into those that an ADD of a has to know the rules of
// and those of which the names will do.
func Concerning(a hostport.Attachment, f hostport.Family, chains []string) (read, beside []string) {
	for _, c := range chains {
		if keyOf(c) == a.Owner.Key() { // then it has more, in chains of others
			return chains, nil
		}
		if IsOurs(c) && !concerns(c, f, a.Mappings) {
			beside = append(beside, c)
		} else {
			read = append(read, c)
		}
	}
	return read, beside
}

// concerns reports whether the rules of a chain of ours matter to mappings ms.
func concerns(chain string, f hostport.Family, ms []hostport.Mapping) bool {
	s, ranged := spanOf(chain)
	switch {
	case keyOf(chain) != "" || chain == masq:
		return false
	case !ranged:
		return true
	}
	return slices.ContainsFunc(ms, func(m hostport.Mapping) bool {
		return m.Family == f && s == around(m.Proto, m.HostPort, s.to-s.from+1)
	})
}

// Beside adds chains of nat that are there and were not read.
func (l *Layout) Beside(chains ...string) {
	for _, c := range chains {
		l.tables["nat"].chains[c], l.tables["nat"].unread[c] = nil, true
	}
}

// Part reports whether some of our chains were not read.
func (l *Layout) Part() bool { return len(l.tables["nat"].unread) > 0 }

// Leads reports whether packets for one of ms get to some attachment.
func (l *Layout) Leads(ms []hostport.Mapping) bool {
	return slices.ContainsFunc(ms, func(m hostport.Mapping) bool {
		if m.Family != l.Family {
			return false
		}
		way := l.way(m.Proto, m.HostPort)
		return slices.ContainsFunc(l.tables["nat"].chains[way[len(way)-1]], func(r string) bool {
			_, in := l.leads(r)
			return in && l.protoOf(r) == m.Proto && slices.Contains(l.ports(r), m.HostPort)
		})
	})
}

// Before completes l, of which a part was read, with what is there now besides what
// a change to want has brought, or some of it.
func (l *Layout) Before(now, want *Layout) *Layout {
	b := l.clone()
	nat := b.tables["nat"]
	nat.unread = map[string]bool{}
	for chain := range l.tables["nat"].unread {
		rules, there := now.tables["nat"].chains[chain]
		if !there {
			delete(nat.chains, chain)
			continue
		}
		nat.chains[chain] = slices.DeleteFunc(slices.Clone(rules), func(r string) bool {
			return slices.ContainsFunc(want.tables["nat"].chains[chain], func(w string) bool { return canonical(w) == canonical(r) })
		})
	}
	return b
}

// Assumed is the layout to remove a from where the rules cannot be read: it holds
// what Put made for it. The names of the chains of nat tell which ranges there are,
// and nothing that is shared goes.
func Assumed(a hostport.Attachment, f hostport.Family, names []string) *Layout {
	l := empty(f)
	for _, c := range names {
		s, ranged := spanOf(c)
		if !ranged {
			continue
		}
		up := hostports
		for _, w := range widths() {
			if wider := around(s.proto, uint16(s.from), w).chain(); w > s.to-s.from+1 && slices.Contains(names, wider) {
				up = wider
			}
		}
		l.lead(up, s)
	}
	l = l.Put(a, Node{})
	l.tables["mangle"] = empty(f).tables["mangle"]
	nat := l.tables["nat"]
	for chain := range nat.chains {
		if keyOf(chain) == "" {
			nat.unread[chain] = true
		}
	}
	return l
}

// leading are the sources of packets that get to the masquerading already.
func (l *Layout) leading() []netip.Prefix {
	var out []netip.Prefix
	for _, j := range l.tables["nat"].jumps["POSTROUTING"] {
		out = append(out, l.source(l.spec(j.text)))
	}
	return out
}

// source is what a rule compares the source with, all addresses if it does not.
func (l *Layout) source(s iptsave.Spec) netip.Prefix {
	if o, ok := s.Option("-s"); ok {
		p, _ := netip.ParsePrefix(o.Value())
		return p
	}
	return netip.PrefixFrom(l.Family.Wildcard(), 0)
}
