// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"math"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
)

// A Stop is what ends the way of packets: a rule, or the policy of a base chain.
type Stop struct {
	// Where says it in words, Removal is the command that removes the rule, "" for a policy.
	Where, Removal string
	Table          nft.Table
	// Chain is the base chain, and Chains are those that lead to the rule, or for a policy
	// those that the base chain jumps to.
	Chain  string
	Chains []string
	// Policy is set if no rule stops the packets, Untracks if the rule takes them out of
	// conntrack, so that nothing translates them. With Rest it drops all that an earlier chain has
	// not taken out.
	Policy, Untracks, Rest bool
	Legacy                 bool
}

// Priorities of base chains. The first is before all, the last behind all.
const (
	PrioFirst = math.MinInt32
	PrioLast  = math.MaxInt32
)

// Pass sends the packets that are left through the base chains of p's hook whose priority is
// in [from, to), with PrioLast the last ones too, for what they do beside translating. Those of type
// nat see the packets that nobody has translated yet. The Stop is nil if some of those that are to be
// expected may get through.
func (d *Finder) Pass(p walk.Packet, left walk.Space, from, to int32) (walk.Space, *Stop, error) {
	q := query{Finder: d, r: &Report{}, m: hostport.Mapping{Family: p.Family(), Proto: p.Proto, HostPort: p.Port}}
	p.Local = d.local[p.Family()]
	for _, c := range inOrder(q.groups(p.Hook)) {
		if c.Priority < from || c.Priority >= to && to != PrioLast || !c.sees(p) || c.again {
			continue
		}
		next, stop, err := q.filter(c, p, left)
		if err != nil || stop != nil {
			return next, stop, err
		}
		if c.Type != "nat" { // who has them otherwise is known
			left = next
		}
	}
	return left, nil, nil
}

// sees reports whether a base chain is asked about packets that Pass follows: one of type nat where a
// connection opens, once.
func (c hooked) sees(p walk.Packet) bool {
	return c.Type != "nat" || !p.Moved && (p.Hook == walk.Output || p.Hook == walk.Prerouting && p.In != loopback())
}

// Masks says which rule of others gives packets at p's hook another source, "" if none does for
// certain; some rule may, if may is set.
func (d *Finder) Masks(p walk.Packet, left walk.Space) (where string, may bool, err error) {
	q := query{Finder: d, r: &Report{}, m: hostport.Mapping{Family: p.Family(), Proto: p.Proto, HostPort: p.Port}}
	p.Local = d.local[p.Family()]
	for _, c := range inOrder(q.groups(p.Hook)) {
		if c.Type != "nat" {
			continue
		}
		q.ruleset = c.ruleset
		res, err := q.walk(c.Table, c.Name, p, left)
		if err != nil {
			return "", false, err
		}
		for _, path := range res.End {
			masks := slices.Contains([]string{"masq", "masquerade", "snat", "netmap"}, strings.ToLower(path.Last().Target))
			if masks && path.Match != walk.Unknown && !path.Doubtful {
				return q.where(path), true, nil
			}
			may = may || masks
		}
	}
	return "", may, nil
}

// filter sends packets through one base chain.
func (q query) filter(c hooked, p walk.Packet, left walk.Space) (walk.Space, *Stop, error) {
	q.ruleset = c.ruleset
	p.Early = unseen(p.Hook, c.Priority)
	res, err := q.walk(c.Table, c.Name, p, left)
	if err != nil {
		return nil, nil, err
	}
	drops, err := c.drops(c.Chain)
	if err != nil {
		return nil, nil, err
	}
	if drops {
		res.Next = res.Accepted
	}
	stop := &Stop{Table: c.Table, Chain: c.Name, Legacy: c.Holder == Legacy}
	switch {
	case c.Type == "nat" && len(res.NAT) > 0:
	case len(res.Next.Likely()) == 0:
		return res.Next, stop, q.stopped(stop, c, res, drops && len(res.Passed) > 0)
	case p.Early && len(left.Likely().Tracked()) > 0 && len(res.Next.Likely().Tracked()) == 0:
		n := len(res.Untracked)
		if stop.Untracks, stop.Rest = true, n == 0; stop.Rest {
			return res.Next, stop, q.stopped(stop, c, res, drops && len(res.Passed) > 0)
		}
		q.stoppedBy(stop, res.Untracked[n-1])
		return res.Next, stop, nil
	}
	return res.Next, nil, nil
}

// stopped says what stopped the last packets: the last rule that stops, or takes, all that come to it,
// or else the policy, if that dropped some.
func (q query) stopped(stop *Stop, c hooked, res walk.Result, policy bool) error {
	for i, path := range append(res.NAT, res.End...) {
		if (i < len(res.NAT) || path.Stops()) && !path.Doubtful && path.Match != walk.Unknown {
			q.stoppedBy(stop, path)
		}
	}
	if !policy && stop.Where != "" {
		return nil
	}
	rules, err := q.Source.Rules(c.Table, c.Name)
	if err != nil {
		return err
	}
	stop.Policy, stop.Where, stop.Chains, stop.Removal = true, "the policy of "+q.base(c), nil, ""
	for _, r := range rules {
		if to := r.Target(); to != "" {
			stop.Chains = append(stop.Chains, to)
		}
	}
	return nil
}

func (q query) stoppedBy(stop *Stop, path walk.Path) {
	stop.Where, stop.Removal, stop.Chains = q.where(path), q.removal(path), names(path)
}

// base names a base chain.
func (q query) base(c hooked) string {
	what := q.what(c.Table, c.Name)
	if c.Table.Name != "nat" {
		what += " " + c.Name
	}
	return what
}

// names are those of the chains of a path.
func names(path walk.Path) (out []string) {
	for _, h := range path.Hops {
		out = append(out, h.Chain)
	}
	return out
}
