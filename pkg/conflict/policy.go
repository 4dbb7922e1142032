// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"math"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// routed looks where policy routing leads the packets of the hook, before it asks whether
// their destination is the node's. Rules of netfilter ask for nothing but that, so a mapping
// would take them.
func (w *way) routed(p walk.Packet) {
	for _, rule := range w.s.Policy {
		c, ok := choice(rule, w.m, p.Hook)
		if !ok {
			continue
		}
		if match, dst, doubtful := w.left.Chosen(c); match != walk.No {
			w.leads(rule, dst, match, doubtful)
		}
	}
}

// choice is what a rule says of the packets of a mapping, as far as they can be compared
// with it. It is not ok for one that is not about them.
func choice(r hostport.RouteRule, m hostport.Mapping, h walk.Hook) (c walk.Choice, ok bool) {
	ported := r.Ports == [2]uint16{} || r.Ports[0] <= m.HostPort && m.HostPort <= r.Ports[1]
	// The input link of the node's own packets is lo.
	others := r.In != "" && (r.In == "lo") != (h == walk.Output)
	switch {
	case r.Family != m.Family:
		return c, false
	case !r.Vague && (!ported || others || r.Proto != 0 && r.Proto != m.Proto):
		return c, false
	}
	c.Dst = r.Routed
	if r.Vague { // it may be for all but what it names
		return c, len(c.Dst) > 0
	}
	if r.Dst.IsValid() {
		c.Dst = c.Dst.And(addrset.Of(r.Dst))
	}
	if r.Src.IsValid() {
		c.Src = addrset.Of(r.Src)
	}
	if h != walk.Output {
		c.In = r.In
	}
	c.Mark, c.Mask = r.Mark, r.Mask
	return c, len(c.Dst) > 0
}

// leads says what a rule means for the mapping. The mapping would come first, so it refuses too
// where nobody can tell whether packets get the mark of the rule, unless only those would that
// may well not exist.
func (w *way) leads(r hostport.RouteRule, dst addrset.Set, match walk.Tri, doubtful bool) {
	f := Finding{Kind: finding.PolicyRoute, Mapping: w.m, Who: "policy routing", Where: fmt.Sprintf("ip rule %q", r.Text),
		At: []Point{{Hook: w.p.Hook, Stage: Translation, Priority: math.MinInt32}}, Dst: dst, Part: match != walk.Yes || r.Vague}
	f.Conditional = match == walk.Unknown && doubtful || r.Vague
	switch unknown := match == walk.Unknown; {
	case (f.Conditional || unknown) && w.told(f):
		return
	case f.Conditional:
		f.say(f.Kind.Remedy(), "hostPort %s: policy routing comes before table local and may lead some of its packets elsewhere: %s", w.m, f.Where)
	case unknown:
		f.say(f.Kind.Remedy(), "hostPort %s may be taken: policy routing comes before table local, and portguard cannot tell which mark rules give its packets: %s", w.m, f.Where)
	default:
		f.say(f.Kind.Remedy(), "hostPort %s is taken: policy routing leads its packets elsewhere before it asks for addresses of the node: %s", w.m, f.Where)
	}
	w.r.add(f)
}
