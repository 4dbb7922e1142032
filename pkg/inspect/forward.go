// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// A Filter is one base chain at FORWARD for one family, with what its end means.
type Filter struct {
	Walker *walk.Walker
	Chain  string
	// Drops is set if the policy is drop.
	Drops bool
	// Where names the table.
	Where  string
	Family hostport.Family
}

// dropped lists the mappings of live pods whose packets a filter certainly drops.
func (v *view) dropped() ([]doctor.Dropped, error) {
	filters, err := v.Node.Filters(v.On)
	if err != nil || len(filters) == 0 {
		return nil, err
	}
	var out []doctor.Dropped
	for _, c := range v.claims {
		pod := c.Target
		if !pod.IsValid() || c.Foreign || v.life[c.Key] == hostport.Dead {
			continue
		}
		link, _ := v.Node.LinkTo(pod.Addr())
		p := walk.Packet{Hook: walk.Forward, Proto: c.Mapping.Proto, Port: pod.Port(), Dst: addrset.Between(pod.Addr(), pod.Addr()), Out: link}
		for _, f := range filters {
			if f.Family != c.Mapping.Family {
				continue
			}
			where, err := f.blocks(p)
			if err != nil {
				return nil, err
			}
			if where != "" {
				out = append(out, doctor.Dropped{Mapping: c.Mapping, Owner: v.attachments[c.Key].Owner, Where: where})
				break
			}
		}
	}
	return out, nil
}

// blocks says what keeps packets from the pod, "" if anything may let them through.
func (f Filter) blocks(p walk.Packet) (string, error) {
	r, err := f.Walker.Walk(f.Chain, p)
	if err != nil {
		return "", err
	}
	accepts := func(path walk.Path) bool { return strings.EqualFold(path.Last().Target, "accept") }
	if slices.ContainsFunc(r.End, accepts) {
		return "", nil
	}
	for _, path := range r.End {
		if path.Match == walk.Yes {
			return fmt.Sprintf("%s, chain %s: %s", f.Where, path.Last().Chain, path.Last().Text), nil
		}
	}
	if f.Drops && len(r.Reached) > 0 {
		return fmt.Sprintf("%s, policy of chain %s", f.Where, f.Chain), nil
	}
	return "", nil
}
