// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// behind follows packets that the mapping has through the rest of prerouting, and the pod's first
// answers through that hook. What ends their way there nobody opens; forward and output are
// left to the plugins that come behind portguard.
func (w *way) behind() error {
	own, to := w.from.Hook == walk.Output, w.a.Target(w.m)
	if w.round > 1 || w.taken || !to.IsValid() || own && !w.m.HostIP.IsLoopback() {
		return nil
	}
	b := &way{query: w.query, p: w.from, left: w.mapped, round: w.round}
	b.whole, b.p.Moved, b.p.To = true, true, to
	if !own {
		if err := b.along(walk.Prerouting); err != nil {
			return err
		}
		b.arrive(b.p)
		w.asked = w.asked || b.asked
	}
	if w.round > 0 || len(b.left.Likely()) == 0 {
		return nil
	}
	return w.answers(b)
}

// answers follows those of the pod, with b. The mark of their connection, which the rest of the
// way to the pod may set, matters where somebody asks for it: many rules are on that way.
func (w *way) answers(b *way) (err error) {
	b.p.Answer, b.p.Links = true, nil
	if w.s.LinkTo != nil {
		if b.p.In, err = w.s.LinkTo(b.p.To.Addr()); err != nil {
			return err
		}
	}
	for states, last := w.mapped, false; ; states, last = w.gone, true {
		b.p.Hook, b.past, b.lost = walk.Prerouting, false, nil
		if b.left = states.Tracked().Answered(b.p); w.from.Hook == walk.Output { // the pod sees the node, by its link
			b.left = b.left.From(addrset.All(w.m.Family == hostport.IPv4))
		}
		if err = b.along(walk.Ingress, walk.Prerouting); err != nil {
			return err
		}
		if last || !b.asked {
			b.arrive(b.p)
			return nil
		}
		if err = w.move(); err != nil {
			return err
		}
	}
}
