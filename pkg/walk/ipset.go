// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// Sets asks for members of the node's ipsets.
type Sets interface {
	// SetType returns the type of a set, "" if there is none of that name.
	SetType(name string) (string, error)
	SetHas(name, typ string, addr netip.Addr, proto hostport.Proto, port uint16) (bool, error)
}

// matchSet answers "--match-set NAME dst[,dst]" for sets of ports and of
// addresses by asking for the members that matter. What has a source among its
// dimensions, or is of another type, stays open.
func (x *xtables) matchSet(o iptsave.Option, p Packet) (Tri, *cond, error) {
	if x.sets == nil || len(o.Values) != 2 {
		return Unknown, nil, nil
	}
	name := o.Values[0]
	dims := strings.Split(o.Values[1], ",")
	typ, err := x.sets.SetType(name)
	_, fields, _ := strings.Cut(typ, ":")
	known := slices.Contains([]string{"bitmap:port", "bitmap:ip", "hash:ip", "hash:net", "hash:ip,port", "hash:net,port"}, typ)
	if err != nil || !known || len(dims) != strings.Count(fields, ",")+1 ||
		slices.ContainsFunc(dims, func(d string) bool { return d != "dst" }) {
		return Unknown, nil, err
	}
	if typ == "bitmap:port" {
		ok, err := x.sets.SetHas(name, typ, p.Dst[0].Lo, p.Proto, p.Port)
		return yesIf(ok), nil, err
	}
	var members addrset.Set
	n := 0
	for _, sp := range p.Dst {
		for a := sp.Lo; ; a = a.Next() {
			if n++; n > maxSingles {
				return Unknown, nil, nil
			}
			ok, err := x.sets.SetHas(name, typ, a, p.Proto, p.Port)
			if err != nil {
				return Unknown, nil, err
			}
			if ok {
				members = members.Or(addrset.Between(a, a))
			}
			if a == sp.Hi {
				break
			}
		}
	}
	return Yes, &cond{kind: onDst, addrs: members}, nil
}
