// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

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
		r.Routed = []netip.Prefix{netip.PrefixFrom(r.Family.Wildcard(), 0)}
		if r.action == ruleLooksUp {
			if r.Routed, err = routed(r.Family, r.table); err != nil {
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

// routed are the destinations of which a table says more than to look on in the next one.
func routed(f hostport.Family, table uint32) (out []netip.Prefix, err error) {
	family := netlink.FAMILY_V4
	if f == hostport.IPv6 {
		family = netlink.FAMILY_V6
	}
	routes, err := Complete(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, &netlink.Route{Table: int(table)}, netlink.RT_FILTER_TABLE)
	})
	for _, r := range routes {
		p := prefix(r.Dst)
		if r.Dst == nil {
			p = netip.PrefixFrom(f.Wildcard(), 0)
		}
		if p.IsValid() && r.Type != unix.RTN_THROW {
			out = append(out, p)
		}
	}
	return out, err
}
