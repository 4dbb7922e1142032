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

// asked are the options that elements ask for, in one order.
func (t *Table) asked() []string {
	all := map[string]bool{}
	for _, e := range t.elements {
		if name := e.option(); name != "" {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// option is what e asks for, "" if nothing.
func (e Element) option() string {
	switch strings.TrimRight(e.Set, "46") {
	case "conditions", "addresses", "spared": // looked up before the ports
		return e.Set
	case "neighbours":
	default:
		return ""
	}
	s, _ := spec(e.Set)
	from, ok1 := s.parts(e.From)
	to, ok2 := s.parts(e.To)
	if !ok1 || !ok2 {
		return ""
	}
	var p []netip.Prefix
	add(&p, network(s.key[1], from[1], to[1]))
	if len(p) == 0 { // no network of ours
		return ""
	}
	return near + p[0].String()
}

// with returns o with what else is asked for.
func (o options) with(names ...string) options {
	out := options{}
	maps.Copy(out, o)
	for _, name := range names {
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
