// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A pod that comes needs to know what leads to others on its ports, and where our
// jumps stand; one that goes needs to know what it has. What a thousand others have
// matters to neither, so a Layout may be of a part of our chains.

// Concerning splits chains of nat into those that an ADD of a has to know the rules of
// and those that it has not. It is not ok if a has rules already: then there are more of
// them, in the chains of others.
func Concerning(a hostport.Attachment, f hostport.Family, chains []string) (read, beside []string, ok bool) {
	key := a.Owner.Key()
	if slices.ContainsFunc(chains, func(c string) bool { return keyOf(c) == key }) {
		return nil, nil, false
	}
	read, beside = split(chains, func(c string) bool { return c != masq && concerns(c, a, f) })
	return read, beside, true
}

// Belonging is Concerning for a DEL of a.
func Belonging(a hostport.Attachment, f hostport.Family, chains []string) (read, beside []string) {
	return split(chains, func(c string) bool { return concerns(c, a, f) })
}

// split keeps the chains of others than portguard.
func split(chains []string, ours func(string) bool) (read, beside []string) {
	for _, c := range chains {
		if IsOurs(c) && !ours(c) {
			beside = append(beside, c)
		} else {
			read = append(read, c)
		}
	}
	return read, beside
}

// concerns reports whether a chain of ours is shared and on the way of a's ports, or
// a's own.
func concerns(chain string, a hostport.Attachment, f hostport.Family) bool {
	s, ranged := spanOf(chain)
	if !ranged {
		return !Others(chain, a.Owner.Key())
	}
	return slices.ContainsFunc(a.Mappings, func(m hostport.Mapping) bool {
		return m.Family == f && s == around(m.Proto, m.HostPort, s.to-s.from+1)
	})
}

// Others reports whether a chain is that of an attachment alone, and not of the one
// with that key.
func Others(chain, key string) bool { k := keyOf(chain); return k != "" && k != key }

// Beside makes l one of a part, with the chains of nat that are there and were not
// read. Those of others alone need not be among them.
func (l *Layout) Beside(chains ...string) {
	l.part = true
	for _, c := range chains {
		l.tables["nat"].unread[c] = true
	}
}

// Among tells a Layout of a part, read for a DEL of the attachment with that key, who the
// others are, so that what nobody needs any more can go. It is not ok if there are more,
// or if a chain that was read leads to nobody: somebody flushed it.
func (l *Layout) Among(others []hostport.Attachment, key string) (ok bool) {
	known := map[string]bool{"": true, key: true}
	for _, a := range others {
		known[a.Owner.Key()] = true
	}
	for _, r := range l.tables["nat"].chains[masq] { // who masquerades nothing needs nothing else
		if !known[keyOf(l.targetOf(r))] {
			return false
		}
	}
	for chain := range l.tables["nat"].chains {
		if _, ranged := spanOf(chain); (ranged || chain == hostports) && !l.used(chain) {
			return false
		}
	}
	l.others, l.among = others, true
	return true
}

// linksBeside are the links that attachments which were not read map localhost on.
func (l *Layout) linksBeside() []string {
	var out []string
	guarded := l.Guarded()
	for _, s := range l.beside() {
		o, _ := s.Option("-o")
		if _, ok := guarded[o.Value()]; ok { // else its ADD was killed, or restore's business
			out = append(out, o.Value())
		}
	}
	if l.part && !l.among { // the guard knows
		out = slices.Sorted(maps.Keys(l.Guarded()))
	}
	return out
}

// sourcesBeside are those that attachments which were not read masquerade.
func (l *Layout) sourcesBeside() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range l.beside() {
		out = append(out, l.source(s))
	}
	return out
}

// leading are the sources that have jumps to the masquerading, where only these tell
// what attachments need that were not read.
func (l *Layout) leading() []netip.Prefix {
	var out []netip.Prefix
	if l.part && !l.among {
		for _, j := range l.tables["nat"].jumps["POSTROUTING"] {
			out = append(out, l.source(l.spec(j.text)))
		}
	}
	return out
}

// beside are the matches on who is masqueraded for attachments that were not read.
func (l *Layout) beside() []iptsave.Spec {
	var out []iptsave.Spec
	for _, a := range l.others {
		if _, ok := a.Pod(l.Family); ok && len(a.Of(l.Family)) > 0 && len(masqNetworks(a, l.Family)) > 0 {
			for _, src := range masqSources(a, l.Family) {
				out = append(out, l.spec(iptsave.Join(src...)))
			}
		}
	}
	return out
}

// Part reports whether others may have chains that were not read.
func (l *Layout) Part() bool { return l.part }

// Enough reports whether a Layout of a part, read for an ADD, tells all that the ADD must
// know: nothing leads to others on the ports of ms, and no chain on their way, nor the
// masquerading, was flushed or cut off by somebody.
func (l *Layout) Enough(ms []hostport.Mapping) bool {
	nat := l.tables["nat"]
	if nat.unread[masq] && len(nat.jumps["POSTROUTING"]) == 0 {
		return false
	}
	return !slices.ContainsFunc(ms, func(m hostport.Mapping) bool {
		if m.Family != l.Family {
			return false
		}
		way := l.way(m.Proto, m.HostPort)
		return slices.ContainsFunc(places(m.Proto, m.HostPort), func(c string) bool {
			_, there := nat.chains[c]
			return there && (!slices.Contains(way, c) || !l.used(c) || l.has(c, m))
		})
	})
}

// has reports whether a chain holds rules that lead to an attachment for a port.
func (l *Layout) has(chain string, m hostport.Mapping) bool {
	return slices.ContainsFunc(l.tables["nat"].chains[chain], func(r string) bool {
		_, in := l.leads(r)
		return in && l.protoOf(r) == m.Proto && slices.Contains(l.ports(r), m.HostPort)
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
			return slices.ContainsFunc(brought[chain], func(w string) bool { return b.canonical(w) == b.canonical(r) })
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
		for _, wider := range places(s.proto, uint16(s.from)) {
			if wider == c {
				break
			}
			if slices.Contains(names, wider) {
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

// source is what a rule compares the source with, all addresses if it does not.
func (l *Layout) source(s iptsave.Spec) netip.Prefix {
	if o, ok := s.Option("-s"); ok {
		p, _ := netip.ParsePrefix(o.Value())
		return p
	}
	return netip.PrefixFrom(l.Family.Wildcard(), 0)
}
