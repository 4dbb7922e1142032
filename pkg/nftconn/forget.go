// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// Forget drops the answers that an event has made untrue, and reports whether there are
// any: whoever has used them must ask again.
func (r *Reader) Forget(e nft.Event) bool {
	at := e.Table.String() + " " + e.Name
	switch e.Type {
	case unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE:
		whole := r.drop("whole " + at)
		if r.elsewhere(e.Attrs) || !r.concerning(e.Table)(e.Attrs) {
			return whole
		}
		return r.drop("rules "+at, "all rules "+e.Table.String()) || whole
	case unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN:
		described := r.drop("description " + at)
		return r.forgetChain(e) || described
	case unix.NFT_MSG_NEWSET, unix.NFT_MSG_DELSET: // with all elements
		set := r.drop("set "+at, "sets "+e.Table.String())
		return r.dropAll("element "+at+" ", "elements "+at+" ") || set
	case unix.NFT_MSG_NEWSETELEM, unix.NFT_MSG_DELSETELEM:
		return r.amend(e, at)
	case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE:
		described := r.dropAll("table " + e.Table.String() + ",")
		return r.forgetTable(e) || described
	}
	return false
}

// maxAmended is for how many elements a list is amended. For more it is read again.
const maxAmended = 1000

// amend brings the lists of a set up to date with what came into it or went: reading one with
// thousands of elements takes longer than those who write them one by one pause. One that is too long
// to be listed stays so as long as nothing goes.
func (r *Reader) amend(e nft.Event, at string) (asked bool) {
	asked = r.dropAll("element " + at + " ")
	for q, answer := range r.answers {
		if !strings.HasPrefix(q, "elements "+at+" ") || answer == errLong.Error() && e.Type == unix.NFT_MSG_NEWSETELEM {
			continue
		}
		asked = true
		list, listed := answer.([]nft.Element)
		elems, err := nft.DecodeElements(bytes.Clone(e.Attrs))
		r.amended[q] += len(elems)
		if !listed || err != nil || r.amended[q] > maxAmended || len(list)+len(elems) > nft.MaxListed {
			delete(r.answers, q)
			continue
		}
		for _, x := range elems {
			list = slices.DeleteFunc(list, func(o nft.Element) bool {
				return bytes.Equal(o.Key, x.Key) && bytes.Equal(o.KeyEnd, x.KeyEnd) && o.Flags == x.Flags
			})
			if e.Type == unix.NFT_MSG_NEWSETELEM {
				list = append(list, x)
			}
		}
		r.answers[q] = list
	}
	return asked
}

// forgetChain drops the list of chains if the one of the event is in it, or would be.
func (r *Reader) forgetChain(e nft.Event) bool {
	if r.names == nil {
		return false
	}
	_, hooked := e.Attrs.Get(unix.NFTA_CHAIN_HOOK)
	if !hooked && r.Wanted != nil && !r.Wanted(e.Name) && !slices.Contains(r.names[e.Table], e.Name) {
		return false
	}
	r.names = nil
	return true
}

// forgetTable drops the list of chains if those of the table are in it: it may have become
// dormant, or awake.
func (r *Reader) forgetTable(e nft.Event) bool {
	if _, listed := r.names[e.Table]; !listed {
		return false
	}
	r.names = nil
	return true
}

func (r *Reader) drop(questions ...string) (asked bool) {
	for _, q := range questions {
		if _, had := r.answers[q]; had {
			delete(r.answers, q)
			asked = true
		}
	}
	return asked
}

// dropAll is drop for all questions that begin so.
func (r *Reader) dropAll(prefixes ...string) (asked bool) {
	for q := range r.answers {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(q, p) }) {
			delete(r.answers, q)
			asked = true
		}
	}
	return asked
}
