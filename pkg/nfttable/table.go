// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"maps"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Table is what is in our table, or should be. One that was looked at in part
// knows only the elements it was asked for.
type Table struct {
	// There is set if the table exists, Broken are the shared chains and sets
	// that are not as they must be.
	There  bool
	Broken []string
	// Whole is set if all elements are known.
	Whole bool

	elements map[string]Element
	// options are the optional rules that are there, or have to be.
	options options
	// packets is how often elements were found, by their keys.
	packets map[string]uint64
	chains  map[string]Chain
	// shared are the names of our shared chains that are there, as they must be
	// or not.
	shared []string
}

func empty() *Table {
	return &Table{elements: map[string]Element{}, packets: map[string]uint64{}, chains: map[string]Chain{}}
}

// Foreign reports whether there is a table of our name without any of our sets: it
// is somebody else's.
func (t *Table) Foreign() bool {
	return t.There && !slices.ContainsFunc(sets(), func(s setSpec) bool { return !slices.Contains(t.Broken, "set "+s.name) })
}

// Absent is the table that is not there.
func Absent() *Table {
	t := empty()
	t.Whole = true
	return t
}

func (t *Table) clone() *Table {
	c := *t
	c.elements, c.chains = maps.Clone(t.elements), maps.Clone(t.chains)
	return &c
}

// sorted are the elements in one order, so that plans are reproducible.
func (t *Table) sorted() []Element {
	out := make([]Element, 0, len(t.elements))
	for _, k := range slices.Sorted(maps.Keys(t.elements)) {
		out = append(out, t.elements[k])
	}
	return out
}

// Put returns t with the attachment's elements as they must be, instead of those
// it has and those of the keys in instead. LocalnetWas tells whether
// route_localnet of its link was on before.
func (t *Table) Put(a hostport.Attachment, localnetWas bool, instead ...string) *Table {
	d := t.clone()
	for _, k := range append(instead, a.Owner.Key()) {
		d.remove(k)
	}
	for _, e := range Elements(a) {
		if have, taken := d.elements[e.key()]; !taken || have.owner() == a.Owner.Key() {
			d.makeRoom(e)
			d.elements[e.key()] = e // never somebody else's
		}
	}
	if c, ok := ConditionChain(a); ok {
		d.chains[c.Name] = c
	}
	if a.Localhost {
		if _, has := d.Guarded()[a.Link]; !has {
			e := guardElement(a.Link, localnetWas)
			d.elements[e.key()] = e
		}
	}
	d.There, d.Broken = true, nil
	return d.finish()
}

// Remove returns t without the attachments of those keys, and without what nobody
// shares any more.
func (t *Table) Remove(keys ...string) *Table {
	d := t.clone()
	for _, k := range keys {
		d.remove(k)
	}
	return d.finish()
}

// finish drops what nobody needs: guards, optional rules, and the table itself if it is
// empty; and asks for the rules that elements need.
func (t *Table) finish() *Table {
	t.dropGuards()
	t.dropNeighbours()
	if t.Whole {
		t.options = nil // all that is needed shows
	}
	t.options = t.options.with(t.asked()...)
	if t.Whole && len(t.elements) == 0 {
		t.There, t.Broken = false, nil
	}
	return t
}

func (t *Table) remove(key string) {
	if key == "" {
		return
	}
	maps.DeleteFunc(t.elements, func(_ string, e Element) bool { return e.owner() == key })
	maps.DeleteFunc(t.chains, func(name string, _ Chain) bool { return strings.HasPrefix(name, chainPrefix(key)) })
}

// dropGuards removes the guards of links that nobody uses. That is known only of
// a whole table.
func (t *Table) dropGuards() {
	if !t.Whole {
		return
	}
	used := map[string]bool{}
	for _, e := range t.elements {
		if e.Set == setLinks {
			used[linkOf(e)] = true
		}
	}
	maps.DeleteFunc(t.elements, func(_ string, e Element) bool { return e.Set == setGuarded && !used[linkOf(e)] })
}

func linkOf(e Element) string { return strings.TrimRight(e.From[:min(16, len(e.From))], "\x00") }

// Guarded returns the links that have a guard, with whether route_localnet was on
// before it.
func (t *Table) Guarded() map[string]bool {
	out := map[string]bool{}
	for _, e := range t.elements {
		if e.Set == setGuarded {
			out[linkOf(e)] = !strings.HasSuffix(e.Comment, " 0")
		}
	}
	return out
}

// Has reports whether anything of the attachment with that key is there.
func (t *Table) Has(key string) bool {
	has := false
	for name := range t.chains {
		has = has || strings.HasPrefix(name, chainPrefix(key))
	}
	for _, e := range t.elements {
		has = has || e.owner() == key
	}
	return has
}

// Revert returns now without what led from one table to another: it holds again
// what was there, as far as nobody else has the place.
func Revert(now, from, to *Table) *Table {
	d := now.clone()
	for k, e := range to.elements {
		// One that is shared may have been there unseen; finish knows who needs it.
		if _, shared := isNeighbours(e); !shared && from.elements[k] != e && d.elements[k] == e {
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
	if d.There = d.There || len(d.elements) > 0; d.There {
		d.Broken = nil
	}
	return d.finish()
}

// Keys are those of the attachments that have anything here.
func (t *Table) Keys() []string {
	var out []string
	for _, e := range t.sorted() {
		if k := e.owner(); k != "" && !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}
