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
// a part of our chains.

// Concerning splits chains of nat into those that an ADD of a has to know the rules of
// and those that it has not. It is not ok if a has rules already: then there are more of
// them, in the chains of others.
func Concerning(a hostport.Attachment, f hostport.Family, chains []string) (read, beside []string, ok bool) {
	key := a.Owner.Key()
	for _, c := range chains {
		if keyOf(c) == key {
			return nil, nil, false
		}
		if IsOurs(c) && !concerns(c, f, a.Mappings) {
			beside = append(beside, c)
		} else {
			read = append(read, c)
		}
	}
	return read, beside, true
}

// Others reports whether a chain is that of an attachment alone, and not of the one
// with that key.
func Others(chain, key string) bool { k := keyOf(chain); return k != "" && k != key }

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

// Beside makes l one of a part, with the chains of nat that are there and were not
// read. Those of others alone need not be among them.
func (l *Layout) Beside(chains ...string) {
	l.part = true
	for _, c := range chains {
		l.tables["nat"].unread[c] = true
	}
}

// Part reports whether others may have chains that were not read.
func (l *Layout) Part() bool { return l.part }

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
	if !l.part {
		return b
	}
	nat, brought := b.tables["nat"], want.tables["nat"].chains
	for chain, rules := range now.tables["nat"].chains {
		_, read := nat.chains[chain]
		if _, fresh := brought[chain]; read || fresh && !nat.unread[chain] {
			continue
		}
		nat.chains[chain] = slices.DeleteFunc(slices.Clone(rules), func(r string) bool {
			return slices.ContainsFunc(brought[chain], func(w string) bool { return canonical(w) == canonical(r) })
		})
	}
	nat.unread = nil
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
	for chain := range l.tables["nat"].chains {
		if keyOf(chain) == "" {
			l.Beside(chain)
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
