// SPDX-License-Identifier: Apache-2.0

package legacy

import "github.com/portguard/portguard/pkg/nft"

// An indexer finds the chains. Base chains are where the hooks enter; a chain of a user
// begins with an entry whose target is ERROR and has its name; so does the end.
type indexer struct {
	*Table
	info   info
	begins map[uint32]uint32 // hooks by the offset where they enter
	chain  string            // the chain that the entries are of
	from   uint32            // where it begins
	last   uint32            // the last entry of it so far
	tail   uint32            // where the policy of a base chain is
	count  uint32
}

func (t *Table) index(about, entries []byte) error {
	i, err := decodeInfo(about)
	if err != nil {
		return err
	}
	if want := entriesHeader + int(i.size); len(entries) != want {
		return malformed("the kernel answered with %d bytes instead of %d", len(entries), want)
	}
	t.blob = entries[entriesHeader:]
	if i.valid >= 1<<hooks {
		return malformed("it has hooks %#x", i.valid)
	}
	x := indexer{Table: t, info: i, begins: map[uint32]uint32{}}
	for h := range uint32(hooks) {
		if i.valid&(1<<h) == 0 {
			continue
		}
		if _, twice := x.begins[i.entry[h]]; twice {
			return malformed("two hooks enter at %d", i.entry[h])
		}
		x.begins[i.entry[h]] = h
	}
	for at := uint32(0); ; {
		e, err := t.entry(at)
		if err != nil {
			return err
		}
		x.count++
		ended, err := x.add(at, e)
		if err != nil || ended {
			return err
		}
		at = e.next
	}
}

// add takes an entry; ended is set for the last one.
func (x *indexer) add(at uint32, e entry) (ended bool, err error) {
	h, base := x.begins[at]
	name, header := e.header()
	if !base && !header {
		if x.chain == "" {
			return false, malformed("the entry at %d is in no chain", at)
		}
		x.last = at
		return false, nil
	}
	if x.chain != "" {
		if err := x.close(); err != nil {
			return false, err
		}
	}
	switch {
	case base:
		err = x.enter(h, at)
	case e.next == uint32(len(x.blob)):
		if x.count != x.info.entries || len(x.drops) != len(x.begins) {
			err = malformed("%d entries and %d base chains, and the header says %d and %d", x.count, len(x.drops), x.info.entries, len(x.begins))
		}
		return true, err
	case name == "":
		err = malformed("a chain has no name")
	default:
		x.chain, x.from, x.last = name, e.next, at
	}
	if _, twice := x.chains[x.chain]; twice && err == nil {
		err = malformed("two chains %q", x.chain)
	}
	x.chains[x.chain], x.order = span{}, append(x.order, x.chain)
	if !base {
		x.starts[x.from] = x.chain
	}
	return false, err
}

// enter begins a base chain, whose last entry is its policy.
func (x *indexer) enter(hook, at uint32) error {
	c := Base(x.name, hook)
	x.chain, x.from, x.last, x.tail = c.Name, at, at, x.info.underflow[hook]
	v, err := x.unconditional(x.tail)
	if err == nil && v.Code != nft.Accept && v.Code != nft.Drop {
		err = malformed("chain %q has the policy %d", c.Name, v.Code)
	}
	x.drops[c.Name] = v.Code == nft.Drop
	return err
}

// close ends a chain: the last entry is its policy, or RETURN.
func (x *indexer) close() error {
	x.chains[x.chain] = span{x.from, x.last}
	if _, base := x.drops[x.chain]; base {
		if x.last != x.tail {
			return malformed("chain %q does not end with its policy", x.chain)
		}
		return nil
	}
	if x.last < x.from {
		return malformed("chain %q has no end", x.chain)
	}
	v, err := x.unconditional(x.last)
	if err == nil && v.Code != nft.Return {
		err = malformed("chain %q does not end in a RETURN", x.chain)
	}
	return err
}
