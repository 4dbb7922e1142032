// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"errors"
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
)

// A ruleset is a Ruleset with the walkers that were needed of it.
type ruleset struct {
	Ruleset
	walkers map[walkerOf]*walk.Walker
}

// walkerOf is a table, the family of packets, and whether all of its rules matter.
type walkerOf struct {
	nft.Table
	hostport.Family
	whole bool
}

// drops reports whether the policy of a base chain is drop.
func (rs *ruleset) drops(c nft.Chain) (bool, error) {
	if rs.Drops == nil {
		return false, nil
	}
	return rs.Drops(c)
}

// A query asks one ruleset about one mapping.
type query struct {
	*Finder
	*ruleset
	r *Report
	a *hostport.Attachment
	m hostport.Mapping
	// dst are the local addresses that m covers.
	dst addrset.Set
	// beside is set where nothing counts but what rules do to marks of connections: then those
	// for other destinations and ports matter, too. So they do where whole is set.
	beside, whole bool
}

// find follows packets from outside and the node's own, and asks kube-proxy's other
// chains.
func (d *Finder) find(q query) error {
	for _, h := range []walk.Hook{walk.Prerouting, walk.Output} {
		p, ok := q.packets(h)
		if !ok {
			continue
		}
		if err := q.follow(p); err != nil {
			return err
		}
	}
	for _, rs := range d.rulesets {
		q.ruleset = rs
		if err := q.proxies(); err != nil {
			return err
		}
	}
	return q.findServers()
}

// proxies asks for what kube-proxy has beside the way of packets.
func (q query) proxies() error {
	if err := q.findIPVS(); err != nil {
		return err
	}
	if slices.ContainsFunc(q.Chains, func(c nft.Chain) bool { return c.Table.Name == kubeProxyTable && Carries(c.Table, q.m.Family) }) {
		if err := q.nativeWithoutEndpoints(); err != nil {
			return err
		}
	}
	return q.withoutEndpoints()
}

// Carries reports whether packets of family f pass tables of t's family.
func Carries(t nft.Table, f hostport.Family) bool {
	return t.Family == nft.Inet || t.Family == nft.Netdev || t.Family == f.NFProto()
}

func (q query) owns(t nft.Table, chain string) bool { return q.s.Owns != nil && q.s.Owns(t, chain) }

// own is the table of iptables of that name.
func (q query) own(name string) nft.Table {
	return nft.Table{Family: q.m.Family.NFProto(), Name: name}
}

func (q query) walker(t nft.Table) *walk.Walker {
	key := walkerOf{t, q.m.Family, (q.beside || q.whole) && q.Whole != nil}
	if q.walkers[key] == nil {
		src := q.Source
		if key.whole {
			src = q.Whole
		}
		skip := func(chain string) bool { return q.owns(t, chain) }
		q.walkers[key] = walk.New(src, t, q.m.Family, walk.Options{Skip: skip, Sets: q.s.Sets, Late: q.s.Late, Whose: whose})
	}
	return q.walkers[key]
}

// walk sends those packets that are left through a chain. The error of rules that cannot be
// followed says where they are.
func (q query) walk(t nft.Table, chain string, p walk.Packet, left walk.Space) (walk.Result, error) {
	res, err := q.walker(t).WalkOn(chain, p, left)
	if errors.Is(err, walk.ErrTooComplex) || errors.Is(err, walk.ErrTooLong) {
		err = fmt.Errorf("%s: %w", q.what(t, chain), err)
	}
	return res, err
}

// here reports whether the mapping would stand in the base chain.
func (q query) here(c nft.Chain) bool {
	return c.Table.Name == "nat" && q.s.Place.Flavour != "" && q.s.Place.Flavour == q.flavour(c.Table) && slices.Contains([]string{"PREROUTING", "OUTPUT"}, c.Name)
}

// reached looks whether the packets get to where our jump is or would be.
func (q query) reached(p walk.Packet, res walk.Result, s site) {
	certain := slices.DeleteFunc(res.End[:res.Before:res.Before], func(path walk.Path) bool { return path.Match == walk.Unknown })
	if len(certain) > 0 {
		q.hidden(p, loss{Path: certain[0], of: q.ruleset, at: s.at}, certain[0].Dst, len(res.Reached) > 0)
	}
}

// hidden reports that packets do not get to the mapping.
func (q query) hidden(p walk.Packet, l loss, dst addrset.Set, some bool) {
	f := Finding{Kind: finding.Hidden, Mapping: q.m, Who: "a rule that ends the walk", Where: l.policy, At: []Point{l.at}, Dst: dst}
	if q.ruleset = l.of; l.policy == "" {
		f.Where = q.where(l.Path)
	}
	// Only the node itself gets to a loopback address.
	f.Conditional = some || p.Hook != walk.Prerouting && !q.m.HostIP.IsLoopback()
	works, ends := "would not work", "walk before it"
	if f.Conditional {
		works, ends = "does not work for everybody", "walk of some packets before it"
	}
	switch {
	case p.Answer:
		ends = "way of the pod's answers"
	case p.Moved && p.Later:
		if slices.ContainsFunc(q.r.Conflicts, func(o Finding) bool { return o.Kind == f.Kind && o.Mapping == f.Mapping && o.Where == f.Where }) {
			return // nor do first ones get there
		}
		ends = "way of later packets to the pod"
	case p.Moved:
		ends = "way of its packets to the pod"
	}
	f.say(q.narrowing(l.Path), "hostPort %s %s: a rule ends the %s: %s", q.m, works, ends, f.Where)
	q.r.add(f)
}

// packets is the set to follow: to the local addresses that m covers. Our rules in
// prerouting leave 127.0.0.0/8 out, so there it is not asked about.
func (q query) packets(h walk.Hook) (walk.Packet, bool) {
	m, from := q.m, q.s.From
	p := walk.Packet{Hook: h, Proto: m.Proto, Port: m.HostPort, Dst: q.dst, Local: q.local[m.Family], Src: from.Src.Only(m.Family == hostport.IPv4), Links: from.Links}
	if from.Hook != "" && from.Hook != h {
		return p, false
	}
	if !m.Wildcard() {
		p.Absent = !q.local[m.Family].Contains(m.HostIP)
	}
	if h == walk.Prerouting && m.Family == hostport.IPv4 {
		p.Dst = p.Dst.And(q.notLoopback)
	}
	return p, len(p.Dst) > 0
}
