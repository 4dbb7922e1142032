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
	// SetMembers lists a set, if that is whole without much ado.
	SetMembers(name string) (members []hostport.Member, whole bool, err error)
}

// matchSet answers "--match-set INDEX dst[,dst]" for sets of ports and of addresses: for
// destinations by asking for the members that matter, for sources by listing them. What has
// the source port among its dimensions, or is of another type, has some of the packets.
func (x *run) matchSet(o iptsave.Option) (test, error) {
	name, typ, err := x.ipset(o)
	if err != nil {
		return test{always: Unknown}, err
	}
	x.hop.IPSets = append(x.hop.IPSets, name)
	if name == "" || typ == "" {
		return test{always: Unknown}, nil
	}
	dims := strings.Split(o.Values[1], ",")
	members, open, err := x.holds(name, typ, dims)
	switch {
	case err != nil || open != No:
		return test{always: open}, err
	case len(members) == 0 || len(members.Not(x.r.is4)) == 0: // no address matters
		return test{always: yesIf(len(members) > 0 != o.Not)}, nil
	}
	kind := onDst
	if dims[0] == "src" {
		kind = onSrc
	}
	return test{cond: &cond{kind: kind, addrs: members, not: o.Not}}, nil
}

// holds are the addresses that a set has with the protocol and the port. Open is not No if
// that cannot be told.
func (x *run) holds(name, typ string, dims []string) (members addrset.Set, open Tri, err error) {
	if typ == "list:set" {
		return x.inList(name, dims)
	}
	_, fields, _ := strings.Cut(typ, ":")
	n := strings.Count(fields, ",") + 1
	if len(dims) < n { // nothing is in it then (ip_set_test)
		return nil, No, nil
	}
	dims = dims[:n]
	known := slices.Contains([]string{"bitmap:port", "bitmap:ip", "hash:ip", "hash:net", "hash:ip,port", "hash:net,port"}, typ)
	switch {
	case !known || slices.Contains(dims[1:], "src"):
		return nil, Some, nil
	case typ == "bitmap:port" && dims[0] == "src":
		return nil, Some, nil
	case typ == "bitmap:port":
		ok, err := x.r.Sets.SetHas(name, typ, x.p.Dst[0].Lo, x.p.Proto, x.p.Port)
		if ok {
			members = addrset.All(x.r.is4)
		}
		return members, No, err
	case dims[0] == "src":
		return x.listed(name, len(dims) > 1)
	}
	return x.inSet(name, typ)
}

// inList are the addresses that the sets in a list of sets have.
func (x *run) inList(name string, dims []string) (members addrset.Set, open Tri, err error) {
	sets, whole, err := x.r.Sets.SetMembers(name)
	if err != nil || !whole {
		return nil, Some, err
	}
	for _, m := range sets {
		typ, err := x.r.Sets.SetType(m.Set)
		if err != nil || typ == "" || typ == "list:set" {
			return nil, Unknown, err
		}
		has, open, err := x.holds(m.Set, typ, dims)
		if err != nil || open != No {
			return nil, open, err
		}
		members = members.Or(has)
	}
	return members, No, nil
}

// listed are the addresses of a set, with ports those with the port.
func (x *run) listed(name string, ports bool) (members addrset.Set, open Tri, err error) {
	list, whole, err := x.r.Sets.SetMembers(name)
	if err != nil || !whole {
		return nil, Some, err
	}
	var sets []addrset.Set
	for _, m := range list {
		if m.Except {
			return nil, Some, nil
		}
		if !ports || m.Proto == x.p.Proto && m.Port == x.p.Port {
			sets = append(sets, m.Addrs.Only(x.r.is4))
		}
	}
	return addrset.Union(sets...), No, nil
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

// inSet are the destinations that a set holds with the protocol and the port, if they are
// not too many to ask for.
func (x *run) inSet(name, typ string) (out addrset.Set, open Tri, err error) {
	n := 0
	for _, sp := range x.p.Dst {
		for a := sp.Lo; ; a = a.Next() {
			if n++; n > maxSingles {
				return nil, Unknown, nil
			}
			has, err := x.r.Sets.SetHas(name, typ, a, x.p.Proto, x.p.Port)
			if err != nil {
				return nil, Unknown, err
			}
			if has {
				out = out.Or(addrset.Between(a, a))
			}
			if a == sp.Hi {
				break
			}
		}
	}
	return out, No, nil
}
