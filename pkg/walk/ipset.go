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
	// SetExpires reports whether members of a set go by themselves.
	SetExpires(name string) (bool, error)
	// SetMembers lists a set, if that is whole without much ado.
	SetMembers(name string) (members []hostport.Member, whole bool, err error)
}

// matchSet answers "--match-set INDEX dst[,dst]": for sets of ports and of destinations by
// asking for the members that matter, for others by listing them. What has the source port
// among its dimensions, or is of another type, has some of the packets.
func (x *run) matchSet(m memory, o iptsave.Option) (test, error) {
	name, typ, err := x.ipset(o)
	if err != nil {
		return test{always: Unknown}, err
	}
	x.hop.IPSets, x.hop.NamesPort = append(x.hop.IPSets, name), x.hop.NamesPort || !o.Not && maybePorts(typ)
	if name == "" || typ == "" {
		return test{always: Unknown}, nil
	}
	has, open, err := x.lasting(m, name, typ, strings.Split(o.Values[1], ","))
	if err != nil || open != No {
		return test{always: open}, err
	}
	return testOf(has, o.Not), nil
}

// maybePorts reports whether a set of that type may hold ports.
func maybePorts(typ string) bool {
	return typ == "" || typ == "list:set" || strings.Contains(typ, "port")
}

// lasting is holds for what stays in a set. What expires may be gone by then, and what a rule put
// in or took out may be in it or not.
func (x *run) lasting(m memory, name, typ string, dims []string) (has []conds, open Tri, err error) {
	if m.in(ipset(name), "") != No {
		return nil, Some, nil
	}
	if has, open, err = x.holds(m, name, typ, dims); len(has) == 0 || err != nil {
		return has, open, err
	}
	expires, err := x.r.Sets.SetExpires(name)
	if expires {
		return nil, Some, err
	}
	return has, open, err
}

// holds is what packets must be to be in a set with the protocol and the port: one of the
// results. Open is not No if that cannot be told.
func (x *run) holds(m memory, name, typ string, dims []string) (has []conds, open Tri, err error) {
	if typ == "list:set" {
		return x.inList(m, name, dims)
	}
	_, fields, _ := strings.Cut(typ, ":")
	parts := strings.Split(fields, ",")
	if len(dims) < len(parts) { // nothing is in it then (ip_set_test)
		return nil, No, nil
	}
	for i, part := range parts {
		known := slices.Contains([]string{"ip", "net", "port", "iface"}, part)
		if !known || part == "port" && !x.p.asked(dims[i] == "src") || part == "iface" && dims[i] == "dst" {
			return nil, Some, nil
		}
	}
	switch {
	case x.p.open(true), x.p.open(false), x.p.port() == 0:
		return nil, Some, nil
	case typ == "bitmap:port":
		ok, err := x.r.Sets.SetHas(name, typ, x.p.Dst[0].Lo, x.p.Proto, x.p.port())
		if ok {
			has = []conds{{}}
		}
		return has, No, err
	case x.p.asked(dims[0] == "src") && few(x.askedFor(), maxSingles) && slices.Contains([]string{"ip", "net", "ip,port", "net,port"}, fields):
		members, err := x.inSet(name, typ)
		return x.p.among(dims, members), No, err
	}
	return x.listed(name, parts, dims)
}

// inList is holds for a list of sets.
func (x *run) inList(m memory, name string, dims []string) (has []conds, open Tri, err error) {
	sets, err := x.ipsetMembers(name)
	if err != nil || !sets.whole {
		return nil, Some, err
	}
	for _, of := range sets.elems {
		typ, err := x.r.Sets.SetType(of.Set)
		if err != nil || typ == "" || typ == "list:set" {
			return nil, Unknown, err
		}
		more, open, err := x.lasting(m, of.Set, typ, dims)
		if err != nil || open != No {
			return nil, open, err
		}
		has = append(has, more...)
	}
	return has, No, nil
}

// listed is holds for a set that is listed. Members that differ in one address only are joined.
func (x *run) listed(name string, parts, dims []string) (has []conds, open Tri, err error) {
	if addrs, known := x.r.inIPSets[name]; known && len(parts) == 1 {
		return x.p.among(dims, addrs), No, nil
	}
	list, err := x.ipsetMembers(name)
	if err != nil || !list.whole {
		return nil, Some, err
	}
	members, ok := x.narrowed(list.elems, parts)
	if !ok {
		return nil, Some, nil
	}
	if len(parts) == 1 && parts[0] != "port" { // which many rules may ask
		var all addrset.Set
		for _, m := range members {
			all = append(all, m.Addrs.Only(x.r.is4)...)
		}
		all = addrset.Union(all)
		x.r.inIPSets[name] = all
		return x.p.among(dims, all), No, nil
	}
	for _, m := range members {
		if !slices.Contains(parts, "port") || m.Proto == x.p.Proto && m.Port == x.p.port() {
			has = append(has, x.p.member(m, parts, dims, x.r.is4))
		}
	}
	if has = merged(has); len(has) > maxSingles {
		return nil, Some, nil
	}
	return has, No, nil
}

// among is what packets must be to have one of the addresses, nothing if there are none.
func (p Packet) among(dims []string, addrs addrset.Set) []conds {
	if len(addrs) == 0 {
		return nil
	}
	return []conds{{p.within(dims[0] == "src", addrs)}}
}

// narrowed takes out of the members what smaller ones except (nomatch): of the nets that an
// address is in the smallest decides (mtype_test_cidrs). It is not ok where a net is not all
// that a member has, or where they are too many.
func (x *run) narrowed(list []hostport.Member, parts []string) (out []hostport.Member, ok bool) {
	excepts := slices.DeleteFunc(slices.Clone(list), func(m hostport.Member) bool { return !m.Except })
	if len(excepts) == 0 {
		return list, true
	}
	if of := strings.Join(parts, ","); of != "net" && of != "net,port" || len(excepts)*len(list) > maxSingles*maxSingles {
		return nil, false
	}
	for _, m := range list {
		if m.Except {
			continue
		}
		all := m.Addrs
		for _, e := range excepts {
			if smaller := e.Addrs.Only(x.r.is4); e.Proto == m.Proto && e.Port == m.Port && !slices.Equal(smaller, all) && slices.Equal(smaller.And(all), smaller) {
				m.Addrs = m.Addrs.Minus(smaller)
			}
		}
		if len(m.Addrs) > 0 {
			out = append(out, m)
		}
	}
	return out, true
}

// member is what packets must be to be that member.
func (p Packet) member(m hostport.Member, parts, dims []string, is4 bool) (all conds) {
	addrs := []addrset.Set{m.Addrs.Only(is4), m.Addrs2.Only(is4)}
	for i, part := range parts {
		switch part {
		case "ip", "net":
			all = append(all, p.within(dims[i] == "src", addrs[0]))
			addrs = addrs[1:]
		case "iface":
			all = append(all, cond{kind: onIn, in: m.Link})
		}
	}
	return all
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

// askedFor are the destinations that sets are asked for.
func (x *run) askedFor() addrset.Set {
	if to := x.p.To.Addr(); x.p.Moved {
		return addrset.Between(to, to)
	}
	return x.p.Dst
}

// inSet are the destinations that a set holds with the protocol and the port.
func (x *run) inSet(name, typ string) (out addrset.Set, err error) {
	for a := range each(x.askedFor()) {
		has, err := x.r.Sets.SetHas(name, typ, a, x.p.Proto, x.p.port())
		if err != nil {
			return nil, err
		}
		if has {
			out = out.Or(addrset.Between(a, a))
		}
	}
	return out, nil
}
