// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// RouteRules are the rules of policy routing that the kernel asks before table local. On most
// nodes there are none: rule 0 is for that table.
func RouteRules() ([]hostport.RouteRule, error) {
	out, err := routeRules()
	if err != nil {
		return nil, fmt.Errorf("could not read the rules of policy routing: %w", err)
	}
	return out, nil
}

// fibRules are all rules of policy routing of the calling thread's network namespace.
func fibRules() ([][]byte, error) {
	return Complete(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
	})
}

func routeRules() (out []hostport.RouteRule, err error) {
	msgs, err := fibRules()
	if errors.Is(err, unix.EOPNOTSUPP) { // no policy routing in this kernel
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	early, err := beforeLocal(msgs)
	for _, r := range early {
		r.Routed = addrset.All(r.Family == hostport.IPv4)
		if r.action == ruleLooksUp {
			if r.Routed, err = routed(r); err != nil {
				return nil, err
			}
		}
		out = append(out, r.RouteRule)
	}
	return out, err
}

// beforeLocal are the rules of each family in front of that for table local. Those for the
// tables of VRFs are for packets of their links only.
func beforeLocal(msgs [][]byte) ([]fibRule, error) {
	var out []fibRule
	past := map[hostport.Family]bool{}
	for _, m := range msgs {
		r, err := decodeRule(m)
		switch {
		case err != nil:
			return nil, err
		case r.action == ruleLooksUp && r.table == unix.RT_TABLE_LOCAL && r.plain():
			past[r.Family] = true
		case r.Family != 0 && !past[r.Family] && r.action != ruleNop && !r.l3mdev:
			out = append(out, r)
		}
	}
	return out, nil
}

// routed are the destinations for which the search ends in the table of a rule.
func routed(r fibRule) (addrset.Set, error) {
	family := netlink.FAMILY_V4
	if r.Family == hostport.IPv6 {
		family = netlink.FAMILY_V6
	}
	routes, err := Complete(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, &netlink.Route{Table: int(r.table)}, netlink.RT_FILTER_TABLE)
	})
	groups := map[int]uint32{}
	if err == nil && r.suppressGroup >= 0 {
		var links []netlink.Link
		links, err = Complete(netlink.LinkList)
		for _, l := range links {
			groups[l.Attrs().Index] = l.Attrs().Group
		}
	}
	return ends(r, routes, groups), err
}

// ends are the destinations for which the search ends at one of the routes of a rule's table, other than
// those to the node itself: who is asked there is asked without the rule, too.
// The most specific route decides, of several that with the least metric. It goes on where that
// one says so (throw), or where the rule does not take it (suppress_prefixlength,
// suppress_ifgroup). A route for some packets only is taken to end it if it may.
func ends(r fibRule, routes []netlink.Route, groups map[int]uint32) (out addrset.Set) {
	dst := func(x netlink.Route) netip.Prefix {
		if x.Dst == nil {
			return netip.PrefixFrom(r.Family.Wildcard(), 0)
		}
		return prefix(x.Dst)
	}
	routes = slices.Clone(routes)
	sort.SliceStable(routes, func(i, j int) bool {
		a, b := routes[i], routes[j]
		return cmp.Or(cmp.Compare(dst(a).Bits(), dst(b).Bits()), order(a.Tos != 0, b.Tos != 0), cmp.Compare(b.Priority, a.Priority)) < 0
	})
	for _, x := range routes {
		p := dst(x)
		switch {
		case !p.IsValid():
		case x.Type != unix.RTN_THROW && x.Type != unix.RTN_LOCAL && !r.suppresses(x, p.Bits(), groups):
			out = out.Or(addrset.Of(p))
		case x.Tos == 0:
			out = out.Minus(addrset.Of(p))
		}
	}
	return out
}

// order puts what is not before what is.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// suppresses reports whether a rule does not take a route (fib4_rule_suppress,
// fib6_rule_suppress). Those that refuse packets are never left out.
func (r *fibRule) suppresses(x netlink.Route, bits int, groups map[int]uint32) bool {
	switch x.Type {
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
		return false
	}
	link := x.LinkIndex
	if len(x.MultiPath) > 0 {
		link = x.MultiPath[0].LinkIndex
	}
	group, known := groups[link]
	return bits <= r.suppressBits || known && r.suppressGroup >= 0 && group == uint32(r.suppressGroup)
}
