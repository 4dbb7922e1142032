// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
)

// A Table is what is in a table, or should be.
type Table struct {
	Spec Spec
	// There is set if the table exists, Broken are the parts of its skeleton that are
	// not as they must be, in words.
	There  bool
	Broken []string
	// Stranger says why a table of that name is not portguard's: it wraps ErrVersion.
	// It is nil if the table is ours, or not there.
	Stranger error

	elements map[place]Element
	// packets is how often elements were found, by their places.
	packets map[place]uint64
	// chains are those with conditions.
	chains map[string]Conditions
	// made are the chains of the skeleton that are there, as they must be or not.
	made []string
}

// Conditions is the chain of an attachment with conditions: rules in the words of nft,
// because the conditions are.
type Conditions struct {
	Name  string
	Rules []string
	// Shape is what can be compared of them: for each rule Returns, Translates, or what
	// else it is.
	Shape []string
	// Packets is what the rules have counted, by their comments: each is the key of an
	// element that leads here. It is not compared.
	Packets map[string]uint64
}

// Absent is the table that is not there.
func (s Spec) Absent() *Table {
	return &Table{Spec: s, elements: map[place]Element{}, packets: map[place]uint64{}, chains: map[string]Conditions{}}
}

// All goes through the elements, in no order.
func (t *Table) All() iter.Seq[Element] { return maps.Values(t.elements) }

// Elements are those that keep wants, in one order.
func (t *Table) Elements(keep func(Element) bool) []Element {
	var out []Element
	for e := range t.All() {
		if keep(e) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Element) int {
		return cmp.Or(strings.Compare(a.Set, b.Set), strings.Compare(a.From, b.From), strings.Compare(a.To, b.To))
	})
	return out
}

// Same returns the element that stands where e would.
func (t *Table) Same(e Element) (Element, bool) {
	have, ok := t.elements[e.place()]
	return have, ok
}

// Packets is how often e was found, and false if nobody counts. What leads to a chain with
// conditions is counted there: a table of an older version counts it in the set.
func (t *Table) Packets(e Element) (uint64, bool) {
	if n, counted := t.chains[e.Goto].Packets[t.Spec.Key(e)]; counted {
		return n, true
	}
	n, ok := t.packets[e.place()]
	return n, ok
}

// Conditions returns a chain with conditions.
func (t *Table) Conditions(name string) (Conditions, bool) {
	c, ok := t.chains[name]
	return c, ok
}

// Chains are the names of all chains with conditions, in one order.
func (t *Table) Chains() []string { return slices.Sorted(maps.Keys(t.chains)) }

// With returns t with elements, instead of what stands in their places, and with
// chains. It is whole: what was broken is as it must be.
func (t *Table) With(elements []Element, chains ...Conditions) *Table {
	d := t.clone()
	for _, e := range elements {
		d.elements[e.place()] = e
	}
	for _, c := range chains {
		d.chains[c.Name] = c
	}
	d.There, d.Broken, d.Stranger = true, nil, nil
	return d
}

// Without returns t without elements, and without the chains of which the names begin
// with prefixes. A table without elements is not there.
func (t *Table) Without(gone func(Element) bool, prefixes ...string) *Table {
	old := func(name string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	if t.Stranger != nil {
		return t
	}
	if !some(maps.Values(t.elements), gone) && !some(maps.Keys(t.chains), old) {
		return t.orAbsent() // to clone thousands takes longer than all else
	}
	d := t.clone()
	maps.DeleteFunc(d.elements, func(_ place, e Element) bool { return gone(e) })
	maps.DeleteFunc(d.chains, func(name string, _ Conditions) bool { return old(name) })
	return d.orAbsent()
}

// some reports whether f holds for any.
func some[T any](all iter.Seq[T], f func(T) bool) bool {
	for x := range all {
		if f(x) {
			return true
		}
	}
	return false
}

// Lesser is t for a kernel that lacks an expression of the skeleton; ok is false if there is
// none to do without.
func (t *Table) Lesser() (out *Table, ok bool) {
	out = t.clone()
	out.Spec, ok = t.Spec.lesser()
	return out, ok
}

// Replace returns t with elements instead of those that gone names. A table without
// elements is not there.
func (t *Table) Replace(gone func(Element) bool, elements []Element) *Table {
	want := map[Element]bool{}
	for _, e := range elements {
		want[e] = true
	}
	goes := func(e Element) bool { return gone(e) && !want[e] }
	if lacks := func(e Element) bool { return t.elements[e.place()] != e }; !slices.ContainsFunc(elements, lacks) && !some(t.All(), goes) {
		return t.orAbsent()
	}
	d := t.clone()
	maps.DeleteFunc(d.elements, func(_ place, e Element) bool { return goes(e) })
	for _, e := range elements {
		d.elements[e.place()] = e
	}
	return d.orAbsent()
}

func (t *Table) clone() *Table {
	c := *t
	c.elements, c.chains = maps.Clone(t.elements), maps.Clone(t.chains)
	return &c
}

func (t *Table) orAbsent() *Table {
	if len(t.elements) == 0 {
		return t.Spec.Absent()
	}
	return t
}

// Revert returns now without what led from one table to another: it has again what
// was there, as far as nobody else has the place. What is broken stays so.
func Revert(now, from, to *Table) *Table {
	d := now.clone()
	for k, e := range to.elements {
		if from.elements[k] != e && d.elements[k] == e {
			delete(d.elements, k)
		}
	}
	for k, e := range from.elements {
		if _, taken := d.elements[k]; to.elements[k] != e && !taken {
			d.elements[k] = e
		}
	}
	for name := range to.chains {
		if _, old := from.chains[name]; !old {
			delete(d.chains, name)
		}
	}
	d.There = true
	return d.orAbsent()
}
