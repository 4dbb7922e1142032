// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
)

// Check compares what the attachment must have with what is there, and returns
// one line for each thing that is lost. Elements of others do not matter. T must
// be whole.
func (t *Table) Check(a hostport.Attachment) []string {
	want := Absent().Put(a, false)
	switch {
	case !want.There: // all it asked for stays with others
		return nil
	case !t.There:
		return []string{fmt.Sprintf("table %s is missing", Name())}
	}
	var lost []string
	for _, part := range t.Broken {
		if f, one := familyOf(part); one && len(a.Of(f)) == 0 {
			continue // of the other family only
		}
		lost = append(lost, fmt.Sprintf("table %s: %s is not as installed", Name(), part))
	}
	for _, o := range slices.Sorted(maps.Keys(want.options)) {
		if len(t.Broken) == 0 && !t.options.serves(o) {
			lost = append(lost, fmt.Sprintf("table %s: the rule %q is missing", Name(), o))
		}
	}
	for _, e := range want.sorted() {
		have, ok := t.elements[e.key()]
		if e.Set == setGuarded {
			have.Comment = e.Comment // it remembers what the node was like
		}
		switch {
		case !ok:
			lost = append(lost, fmt.Sprintf("table %s: set %s lacks the element %q", Name(), e.Set, e))
		case have != e:
			lost = append(lost, fmt.Sprintf("table %s: set %s has the element %q, not %q", Name(), e.Set, have, e))
		}
	}
	for name, c := range want.chains {
		switch have, ok := t.chains[name]; {
		case !ok:
			lost = append(lost, fmt.Sprintf("table %s: chain %s is missing", Name(), name))
		case !slices.Equal(have.Shape, c.shapes(a.Owner.Tag())):
			lost = append(lost, fmt.Sprintf("table %s: chain %s does not have the rules of ADD", Name(), name))
		}
	}
	return lost
}

// familyOf is that of a shared part whose name ends with it.
func familyOf(part string) (hostport.Family, bool) {
	switch part[len(part)-1] {
	case '4':
		return hostport.IPv4, true
	case '6':
		return hostport.IPv6, true
	}
	return 0, false
}

// Seen returns a with what only the table tells of it: what its wildcard mappings
// leave alone, and the networks for which it is masqueraded. T must be whole.
func (t *Table) Seen(a hostport.Attachment) hostport.Attachment {
	key := a.Owner.Key()
	a.Carves = t.Carves(key)
	for _, e := range t.sorted() { // one of 127.0.0.1 shows in what is missing
		if at := (Element{Set: setLocalhost, From: e.From}); e.Set == "ports4" && e.owner() == key && a.Localhost && t.elements[at.key()].owner() != key {
			m, _, _ := mapping(e)
			a.Carves = append(a.Carves, localhostCarve(m))
		}
	}
	a.Excludes = slices.Clone(a.Excludes)
	var networks []netip.Prefix
	for _, e := range t.sorted() {
		s, _ := spec(e.Set)
		from, ok1 := s.parts(e.From)
		to, ok2 := s.parts(e.To)
		if !ok1 || !ok2 {
			continue
		}
		pod, shared := isNeighbours(e)
		switch {
		case shared && has(a, pod):
			add(&networks, network(s.key[0], from[0], to[0]))
		case e.owner() != key:
		case strings.HasPrefix(e.Set, "spared") && e.From != e.To:
			add(&a.Excludes, network(s.key[2], from[2], to[2]))
		}
	}
	if len(networks) > 0 {
		a.Networks = networks
	}
	return a
}

// has reports whether an address, as in a key, is one of the pod's.
func has(a hostport.Attachment, addr string) bool {
	return slices.ContainsFunc(a.Pods, func(p netip.Prefix) bool { return string(addrKey(p.Addr())) == addr })
}

func add(list *[]netip.Prefix, s string) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		addr, aerr := netip.ParseAddr(s)
		if aerr != nil {
			return
		}
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	if !slices.Contains(*list, p) {
		*list = append(*list, p)
	}
}

func network(k keyType, from, to []byte) string { return k.interval(from, to) }
