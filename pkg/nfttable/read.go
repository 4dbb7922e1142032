// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// A Source reads nf_tables.
type Source interface {
	TableFlags(t nft.Table) (flags uint32, there bool, err error)
	Chain(t nft.Table, name string) (c nft.Chain, there bool, err error)
	AllRules(t nft.Table) (map[string][]nft.Rule, error)
	Sets(t nft.Table) ([]nft.Set, error)
	AllElements(s nft.Set) ([]nft.Element, error)
	Lookup(s nft.Set, key []byte) (nft.Element, bool, error)
}

// Read reads the whole table.
func Read(src Source) (*Table, error) {
	t, err := readShared(src)
	if err != nil || !t.There {
		return t, err
	}
	for _, s := range sets() {
		if err := t.list(src, s.name); err != nil {
			return nil, err
		}
	}
	t.Whole = true
	return t, nil
}

// Probe reads what an ADD of a must know, by look-ups: who has its ports, and the
// guard of its link. Of mappings with a hostIP, which a look-up by port alone does
// not find, and of those with conditions all are read: they are few.
func Probe(src Source, a hostport.Attachment) (*Table, error) {
	t, err := readShared(src)
	if err != nil || !t.There {
		return t, err
	}
	if len(t.Broken) > 0 { // the elements tell which rules must be made anew
		return Read(src)
	}
	list := []string{"conditions4", "conditions6"}
	for _, m := range a.Mappings {
		f := info(m.Family)
		if m.Wildcard() {
			list = append(list, f.name("addresses"))
		}
		port := append(protoKey(m.Proto), portKey(m.HostPort)...)
		if err := t.lookup(src, f.name("ports"), port); err != nil {
			return nil, err
		}
		if m.Family == hostport.IPv4 {
			if err := t.lookup(src, setLocalhost, port); err != nil {
				return nil, err
			}
		}
		if !m.Wildcard() {
			if err := t.lookup(src, f.name("addresses"), append(addrKey(m.HostIP), port...)); err != nil {
				return nil, err
			}
		}
	}
	if a.Localhost && len(a.Link) > 0 {
		if err := t.lookup(src, setGuarded, linkKey(a.Link)); err != nil {
			return nil, err
		}
	}
	slices.Sort(list)
	for _, name := range slices.Compact(list) {
		if err := t.list(src, name); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Table) usable(name string) (nft.Set, bool) {
	s, _ := spec(name)
	set, _, _, _, _ := s.set()
	return set, !slices.Contains(t.Broken, "set "+name)
}

func (t *Table) lookup(src Source, name string, key []byte) error {
	set, ok := t.usable(name)
	if !ok {
		return nil
	}
	r, found, err := src.Lookup(set, key)
	if found {
		t.keep(name, r)
	}
	return err
}

func (t *Table) list(src Source, name string) error {
	set, ok := t.usable(name)
	if !ok {
		return nil
	}
	elems, err := src.AllElements(set)
	for _, r := range elems {
		t.keep(name, r)
	}
	return err
}

func (t *Table) keep(set string, r nft.Element) {
	e := fromRaw(set, r)
	t.elements[e.key()] = e
	if _, known := t.chains[e.Goto]; !known && e.Goto != "" { // somebody emptied it
		t.chains[e.Goto] = Chain{Name: e.Goto}
	}
	if r.Counted {
		t.packets[e.key()] = r.Packets
	}
}

// ErrVersion means that the table is another version's, or a stranger's.
var ErrVersion = errors.New("the nftables table is not of this version of portguard")

func shapesOf(rules []nft.Rule) []string {
	var out []string
	for _, r := range rules {
		nat := slices.ContainsFunc(r.Exprs, func(e nft.Expr) bool { return e.Name == "nat" })
		out = append(out, shape(nat, r.Comment))
	}
	return out
}

// readShared reads what attachments share, and which chains with conditions
// there are.
func readShared(src Source) (*Table, error) {
	t := empty()
	flags, there, err := src.TableFlags(Name())
	if t.There = there; err != nil || !there {
		t.Whole = err == nil
		return t, err
	}
	if flags&nft.TableDormant != 0 {
		t.Broken = append(t.Broken, dormant)
	}
	have, err := src.Sets(Name())
	if err != nil {
		return nil, err
	}
	for _, s := range sets() {
		want, _, _, _, _ := s.set()
		i := slices.IndexFunc(have, func(o nft.Set) bool { return o.Name == s.name })
		switch {
		case i < 0:
			t.Broken = append(t.Broken, "set "+s.name)
		case have[i].KeyLen != want.KeyLen || have[i].Flags&^nft.SetConcat != want.Flags&^nft.SetConcat:
			return nil, fmt.Errorf("%w: set %s of table %s; remove the table (nft delete table %s) and restart the pods with hostPorts",
				ErrVersion, s.name, Name(), Name())
		}
	}
	return t, t.readChains(src)
}

// readChains compares the shared chains with what they must be.
func (t *Table) readChains(src Source) error {
	have, err := src.AllRules(Name())
	if err != nil {
		return err
	}
	t.options = options{}
	for _, c := range chains() {
		for _, r := range have[c.Name] {
			if o := optionOf(r); o != "" {
				t.options[o] = true
			}
		}
	}
	all := rules(t.options)
	for _, c := range chains() {
		is, there, err := src.Chain(Name(), c.Name)
		if err != nil {
			return err
		}
		if there {
			t.shared = append(t.shared, c.Name)
		}
		sound := there && is == c && slices.EqualFunc(have[c.Name], all[c.Name], sameRule)
		if !sound {
			t.Broken = append(t.Broken, "chain "+c.Name)
		}
	}
	for n := range have {
		if strings.HasPrefix(n, chainPrefix("")) {
			t.chains[n] = Chain{Name: n, Shape: shapesOf(have[n])}
		}
	}
	return nil
}

// sameRule compares a rule of the kernel with the expressions it was made from.
// The kernel adds attributes that were left out, and nft, when it loads what it
// printed, a swap of no bytes.
func sameRule(have, want nft.Rule) bool {
	exprs := slices.DeleteFunc(slices.Clone(have.Exprs), func(e nft.Expr) bool {
		n, _ := e.Attrs.Num(4)
		size, _ := e.Attrs.Num(5)
		return e.Name == "byteorder" && n < size
	})
	return have.Comment == want.Comment && slices.EqualFunc(exprs, want.Exprs, func(h, w nft.Expr) bool {
		return h.Name == w.Name && nft.Contains(h.Attrs, w.Attrs)
	})
}
