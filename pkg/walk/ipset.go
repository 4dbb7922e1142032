// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// Sets asks for members of the node's ipsets.
type Sets interface {
	// SetName returns the name of the set with an index, which is how a rule refers to
	// it, "" if there is none.
	SetName(index uint16) (string, error)
	// SetType returns the type of a set, "" if there is none of that name.
	SetType(name string) (string, error)
	SetHas(name, typ string, addr netip.Addr, proto hostport.Proto, port uint16) (bool, error)
}

// matchSet answers "--match-set INDEX dst[,dst]" for sets of ports and of addresses by
// asking for the members that matter. What has a source among its dimensions, or is of
// another type, has some of the packets.
func (x *run) matchSet(o iptsave.Option) (test, error) {
	open := test{always: Unknown}
	name, typ, err := x.ipset(o)
	if err != nil {
		return open, err
	}
	x.hop.IPSets = append(x.hop.IPSets, name)
	if name == "" {
		return open, nil
	}
	dims := strings.Split(o.Values[1], ",")
	_, fields, _ := strings.Cut(typ, ":")
	known := slices.Contains([]string{"bitmap:port", "bitmap:ip", "hash:ip", "hash:net", "hash:ip,port", "hash:net,port"}, typ)
	if typ == "" {
		return open, nil
	}
	if !known || len(dims) != strings.Count(fields, ",")+1 || slices.ContainsFunc(dims, func(d string) bool { return d != "dst" }) {
		return test{always: Some}, nil
	}
	if typ == "bitmap:port" {
		ok, err := x.r.Sets.SetHas(name, typ, x.p.Dst[0].Lo, x.p.Proto, x.p.Port)
		return test{always: yesIf(ok != o.Not)}, err
	}
	members, ok, err := x.inSet(name, typ)
	if err != nil || !ok {
		return open, err
	}
	return test{cond: &cond{kind: onDst, addrs: members, not: o.Not}}, nil
}

// ipset finds the set that o is about. Its name is "" if that is not known.
func (x *run) ipset(o iptsave.Option) (name, typ string, err error) {
	if x.r.Sets == nil || len(o.Values) != 2 {
		return "", "", nil
	}
	index, err := strconv.ParseUint(o.Values[0], 10, 16)
	if err != nil {
		return "", "", nil //nolint:nilerr // what cannot be read stays open
	}
	if name, err = x.r.Sets.SetName(uint16(index)); err != nil || name == "" {
		return "", "", err
	}
	typ, err = x.r.Sets.SetType(name)
	return name, typ, err
}

// inSet are the destinations that a set holds with the protocol and the port. It is
// not ok if they are too many to ask for.
func (x *run) inSet(name, typ string) (out addrset.Set, ok bool, err error) {
	n := 0
	for _, sp := range x.p.Dst {
		for a := sp.Lo; ; a = a.Next() {
			if n++; n > maxSingles {
				return nil, false, nil
			}
			has, err := x.r.Sets.SetHas(name, typ, a, x.p.Proto, x.p.Port)
			if err != nil {
				return nil, false, err
			}
			if has {
				out = out.Or(addrset.Between(a, a))
			}
			if a == sp.Hi {
				break
			}
		}
	}
	return out, true, nil
}
