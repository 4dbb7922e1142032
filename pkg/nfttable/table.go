// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
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

	elements map[place]*held
	// next is the place in the order for the next element.
	next int
	// chains are those with conditions.
	chains map[string]Conditions
	// made are the chains of the skeleton that are there, as they must be or not.
	made []string
}

// held is an element that is in a table. It never changes: tables share it.
type held struct {
	Element
	// packets is how often it was found, if it is counted.
	packets uint64
	counted bool
	// at is its place in the order in which elements were put into tables.
	at int
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
	return &Table{Spec: s, elements: map[place]*held{}, chains: map[string]Conditions{}}
}

// All goes through the elements, in no order.
func (t *Table) All() iter.Seq[Element] {
	return func(yield func(Element) bool) {
		for _, e := range t.elements {
			if !yield(e.Element) {
				return
			}
		}
	}
}

// Elements are those that keep wants, sorted.
func (t *Table) Elements(keep func(Element) bool) []Element {
	found := t.found(func(e *held) bool { return keep(e.Element) })
	slices.SortFunc(found, func(a, b *held) int {
		if c := strings.Compare(a.Set, b.Set); c != 0 {
			return c
		}
		if c := strings.Compare(a.From, b.From); c != 0 {
			return c
		}
		return strings.Compare(a.To, b.To)
	})
	out := make([]Element, len(found))
	for i, e := range found {
		out[i] = e.Element
	}
	return out
}

// ordered are those that keep wants, in the order in which they were put there: to sort tens
// of thousands by what they are takes longer than to make messages of them.
func (t *Table) ordered(keep func(*held) bool) []*held {
	found := t.found(keep)
	slices.SortFunc(found, func(a, b *held) int { return a.at - b.at })
	return found
}

func (t *Table) found(keep func(*held) bool) (out []*held) {
	for _, e := range t.elements {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

// lacks reports whether e does not stand in its place in t.
func (t *Table) lacks(e *held) bool {
	have := t.elements[e.place()]
	return have != e && (have == nil || have.Element != e.Element)
}

// put puts elements in their places. Those that are there already stay.
func (t *Table) put(elements []Element) {
	fresh := make([]held, len(elements))
	for i, e := range elements {
		if fresh[i] = (held{Element: e, at: t.next + i}); t.lacks(&fresh[i]) {
			t.elements[e.place()] = &fresh[i]
		}
	}
	t.next += len(elements)
}

// Same returns the element that stands where e would.
func (t *Table) Same(e Element) (Element, bool) {
	if have := t.elements[e.place()]; have != nil {
		return have.Element, true
	}
	return Element{}, false
}

// Packets is how often e was found, and false if nobody counts. What leads to a chain with
// conditions is counted there: a table of an older version counts it in the set.
func (t *Table) Packets(e Element) (uint64, bool) {
	if e.Goto != "" {
		if n, counted := t.chains[e.Goto].Packets[t.Spec.Key(e)]; counted {
			return n, true
		}
	}
	have := t.elements[e.place()]
	if have == nil || !have.counted {
		return 0, false
	}
	return have.packets, true
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
	d := t.clone(len(elements))
	d.put(elements)
	for _, c := range chains {
		d.chains[c.Name] = c
	}
	d.There, d.Broken, d.Stranger = true, nil, nil
	return d
}

// Fill returns t with those of the elements in whose places nothing stands, each once, and these.
func (t *Table) Fill(elements []Element) (d *Table, put []Element) {
	d, put = t.clone(len(elements)), elements[:0]
	fresh := make([]held, 0, len(elements))
	for _, e := range elements {
		at := e.place()
		if d.elements[at] != nil {
			continue
		}
		fresh, put = append(fresh, held{Element: e, at: t.next + len(fresh)}), append(put, e)
		d.elements[at] = &fresh[len(fresh)-1]
	}
	d.next += len(fresh)
	return d, put
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
	if !some(t.All(), gone) && !some(maps.Keys(t.chains), old) {
		return t.orAbsent() // to clone thousands takes longer than all else
	}
	d := t.clone(0)
	maps.DeleteFunc(d.elements, func(_ place, e *held) bool { return gone(e.Element) })
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
	out = t.clone(0)
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
	if lacks := func(e Element) bool { return t.lacks(&held{Element: e}) }; !slices.ContainsFunc(elements, lacks) && !some(t.All(), goes) {
		return t.orAbsent()
	}
	d := t.clone(len(elements))
	maps.DeleteFunc(d.elements, func(_ place, e *held) bool { return goes(e.Element) })
	d.put(elements)
	return d.orAbsent()
}

// clone is t with room for so many elements more.
func (t *Table) clone(room int) *Table {
	c := *t
	if c.chains = maps.Clone(t.chains); room <= len(t.elements) {
		c.elements = maps.Clone(t.elements) // in one piece
		return &c
	}
	c.elements = make(map[place]*held, len(t.elements)+room)
	maps.Copy(c.elements, t.elements)
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
	d := now.clone(0)
	for k, e := range to.elements {
		if from.lacks(e) && !d.lacks(e) {
			delete(d.elements, k)
		}
	}
	for k, e := range from.elements {
		if _, taken := d.elements[k]; to.lacks(e) && !taken {
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
