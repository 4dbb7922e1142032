// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// Options name the rules of the shared chains that are there only if some element
// asks for them: every new connection to the node passes those chains, and few
// nodes need all of them. An option is the name of a set, whose rule looks there, or
// "near" and a network, whose neighbours may have to be masqueraded. Who knows only a
// part of the elements adds such rules; they go when all elements are known.
type options map[string]bool

// near begins the options that let connections from a network into the chain
// masquerading.
const near = "near "

// maxNear bounds those of a family: beyond it all connections go there. Pods have
// one network on most nodes, and each its own where pods have a /32.
const maxNear = 4

// optionComment is the comment of an optional rule, by which it is known again.
const optionComment = "portguard: "

// optionOf returns the option of a rule, "" if it is not optional.
func optionOf(r nft.Rule) string {
	o, _ := strings.CutPrefix(r.Comment, optionComment)
	return o
}

// option is what e asks for, "" if nothing.
func (e Element) option() string {
	s, _ := spec(e.Set)
	base := strings.TrimRight(e.Set, "46")
	switch {
	case slices.Contains(lookedUpFirst(), base):
		return e.Set
	case base != "neighbours":
		return ""
	}
	from, ok1 := s.parts(e.From)
	to, ok2 := s.parts(e.To)
	if !ok1 || !ok2 {
		return ""
	}
	var p []netip.Prefix
	add(&p, network(s.key[1], from[1], to[1]))
	if len(p) == 0 { // no network of ours; all, to be safe
		return near + s.key[1].family().Wildcard().String() + "/0"
	}
	return near + p[0].String()
}

func (k keyType) family() hostport.Family {
	if k == addr6 {
		return hostport.IPv6
	}
	return hostport.IPv4
}

// lookedUpFirst are the sets that may be asked before the ports.
func lookedUpFirst() []string { return []string{"conditions", "addresses", "spared"} }

// with returns o with what elements ask for.
func (o options) with(elements ...Element) options {
	out := options{}
	maps.Copy(out, o)
	for _, e := range elements {
		name := e.option()
		if name == "" {
			continue
		}
		if out.serves(name) {
			continue
		}
		if p, ok := nearOf(name); ok {
			f := hostport.FamilyOf(p.Addr())
			if len(out.nears(f)) >= maxNear {
				p = netip.PrefixFrom(f.Wildcard(), 0)
			}
			maps.DeleteFunc(out, func(k string, _ bool) bool {
				q, ok := nearOf(k)
				return ok && p.Bits() <= q.Bits() && p.Contains(q.Addr())
			})
			name = near + p.String()
		}
		out[name] = true
	}
	return out
}

// serves reports whether what a name asks for is there.
func (o options) serves(name string) bool {
	p, ok := nearOf(name)
	return o[name] || ok && slices.ContainsFunc(o.nears(hostport.FamilyOf(p.Addr())), func(q netip.Prefix) bool {
		return q.Bits() <= p.Bits() && q.Contains(p.Addr())
	})
}

func nearOf(option string) (netip.Prefix, bool) {
	s, ok := strings.CutPrefix(option, near)
	p, err := netip.ParsePrefix(s)
	return p, ok && err == nil
}

// nears are the networks of a family.
func (o options) nears(f hostport.Family) []netip.Prefix {
	var out []netip.Prefix
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if p, ok := nearOf(name); ok && hostport.FamilyOf(p.Addr()) == f {
			out = append(out, p)
		}
	}
	return out
}
