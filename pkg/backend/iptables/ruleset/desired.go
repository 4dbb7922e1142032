// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// Node is what the desired rules need to know of the node besides the
// attachments.
type Node struct {
	// Sets are those of ServiceSets that exist.
	Sets []Set
	// RouteLocalnet tells, for the links that attachments map localhost on,
	// whether the sysctl was on before.
	RouteLocalnet map[string]bool
}

// Put returns l with the attachment's rules as they must be, replacing those it
// has and those of the keys in instead, and with everything they share in its
// place.
func (l *Layout) Put(a hostport.Attachment, n Node, instead ...string) *Layout {
	d := l.clone()
	key := a.Owner.Key()
	for _, k := range append(instead, key) {
		d.remove(k)
	}
	if _, ok := a.Pod(l.Family); ok && len(a.Of(l.Family)) > 0 {
		nat := d.tables["nat"]
		nat.chains[dnatPrefix+key] = dnatRules(a, l.Family)
		d.enter(a)
		if rules, jumps := masqRules(a, l.Family), masqJumps(a, l.Family); len(rules) > 0 && len(jumps) > 0 {
			nat.chains[masqPrefix+key] = rules
			nat.chains[masq] = append(nat.chains[masq], jumps...)
		}
	}
	d.services(n.Sets)
	d.finish(n)
	return d
}

// Remove returns l without the attachments with those keys, and without what
// nobody shares any more.
func (l *Layout) Remove(keys ...string) *Layout {
	d := l.clone()
	for _, k := range keys {
		d.remove(k)
	}
	d.finish(Node{})
	return d
}

func (l *Layout) remove(key string) {
	if key == "" {
		return
	}
	for _, t := range l.tables {
		maps.DeleteFunc(t.chains, func(name string, _ []string) bool { return keyOf(name) == key })
		for name, rules := range t.chains {
			if keyOf(name) == "" { // nothing else leads to attachments
				t.chains[name] = slices.DeleteFunc(rules, func(r string) bool { return keyOf(l.targetOf(r)) == key })
			}
		}
	}
}

// services puts the rules that spare Services first and drops old ones.
func (l *Layout) services(sets []Set) {
	nat := l.tables["nat"]
	if rules, ok := nat.chains[hostports]; ok {
		keep := slices.DeleteFunc(slices.Clone(rules), func(r string) bool { return l.targetOf(r) == "RETURN" })
		want := serviceRules(sets)
		if len(rules)-len(keep) == len(want) && l.equalRules(rules[:len(want)], want) {
			return
		}
		nat.chains[hostports] = append(want, keep...)
	}
}

func (l *Layout) equalRules(a, b []string) bool {
	return slices.EqualFunc(a, b, func(x, y string) bool { return l.canonical(x) == l.canonical(y) })
}

func canonical(rule string) string { return iptsave.Rule{Text: rule}.Canonical() }

// finish drops shared chains without a user, keeps the guard for the links that
// need it, and makes the jumps fit.
func (l *Layout) finish(n Node) {
	nat, mangle := l.tables["nat"], l.tables["mangle"]
	l.prune()
	for _, chain := range []string{hostports, masq} {
		if !l.kept(chain) {
			delete(nat.chains, chain)
		}
	}
	l.guards(mangle, n)
	for _, b := range bases(l.Family, l.near(), l.masqueraded()) {
		l.tables[b.table].settle(b)
	}
}

// guards keeps one rule for each link that some attachment maps localhost on.
func (l *Layout) guards(mangle *table, n Node) {
	links := l.Links()
	var rules []string
	for _, r := range mangle.chains[guard] {
		o, _ := l.spec(r).Option("-i")
		if i := slices.Index(links, o.Value()); i >= 0 {
			rules = append(rules, r)
			links = slices.Delete(links, i, i+1)
		}
	}
	for _, link := range links {
		rules = append(rules, guardRule(link, n.RouteLocalnet[link]))
	}
	if len(rules) == 0 {
		delete(mangle.chains, guard)
		return
	}
	mangle.chains[guard] = rules
}

// Links returns the links over which localhost is mapped, in a fixed order. The
// masquerade rules for 127.0.0.0/8 name them.
func (l *Layout) Links() []string {
	var out []string
	for _, link := range l.linksBeside() {
		if !slices.Contains(out, link) {
			out = append(out, link)
		}
	}
	for _, spec := range l.natRules(masqPrefix) {
		if o, ok := spec.Option("-o"); ok && !slices.Contains(out, o.Value()) {
			out = append(out, o.Value())
		}
	}
	return out
}

// masqueraded are the sources that the attachments masquerade.
func (l *Layout) masqueraded() []netip.Prefix {
	out := l.sourcesBeside()
	for _, spec := range l.natRules(masqPrefix) {
		if p := l.source(spec); spec.Target == "MASQUERADE" && p.IsValid() && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// Guarded returns the links that have a guard, with whether route_localnet was
// on before it.
func (l *Layout) Guarded() map[string]bool {
	out := map[string]bool{}
	for _, r := range l.tables["mangle"].chains[guard] {
		s := l.spec(r)
		if o, ok := s.Option("-i"); ok {
			out[o.Value()] = !strings.HasSuffix(s.Comment(), " 0")
		}
	}
	return out
}
