// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// A listing is what is in a set, if it is whole.
type listing[E any] struct {
	elems []E
	whole bool
}

// elements lists a set, each once, in the form that intervals has.
func (x *run) elements(set nft.Set) (listing[nft.Element], error) {
	l, known := x.r.listed[set.Name]
	if !known {
		elems, whole, err := x.r.src.Elements(set)
		if err != nil {
			return l, err
		}
		l = listing[nft.Element]{intervals(set, elems), whole}
		x.r.listed[set.Name] = l
	}
	return l, nil
}

// ipsetMembers lists an ipset.
func (x *run) ipsetMembers(name string) (l listing[hostport.Member], err error) {
	if err := x.r.late(x.r.chain); err != nil {
		return l, err
	}
	if l.elems, l.whole, err = x.r.Sets.SetMembers(name); err != nil {
		return l, err
	}
	if !l.whole {
		x.hop.Unlisted = append(x.hop.Unlisted, name)
	}
	return l, nil
}
