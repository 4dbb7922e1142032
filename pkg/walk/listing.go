// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"

	"github.com/portguard/portguard/pkg/addrset"
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

// addresses are those in a set of them, which many rules may ask. It is not ok if slots hold something
// else than an address, or elements go by themselves, or count.
func (x *run) addresses(set nft.Set, elems []nft.Element, slots []slot) (all addrset.Set, ok bool) {
	of, size := slots[0].of, x.p.Dst[0].Lo.BitLen()/8
	if of != ofSrc && of != ofDst || slots[0].off != 0 || set.KeyLen != size || len(slots)*4 != size || !whole(slots) {
		return nil, false
	}
	if known, ok := x.r.addrs[set.Name]; ok {
		return known, known != nil
	}
	all = make(addrset.Set, 0, len(elems))
	for _, e := range elems {
		from, ok1 := netip.AddrFromSlice(e.Key)
		to, ok2 := netip.AddrFromSlice(e.KeyEnd)
		if !ok1 || !ok2 || e.CatchAll() || e.Stateful || e.Expires {
			all = nil
			break
		}
		all = append(all, addrset.Span{Lo: from, Hi: to})
	}
	if all != nil {
		all = addrset.Union(all)
	}
	x.r.addrs[set.Name] = all
	return all, all != nil
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
