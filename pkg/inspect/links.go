// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/hostport"
)

// addresses are those of the node, and where the backends that have mappings let them be.
func (v *view) addresses() (doctor.Addresses, error) {
	out := doctor.Addresses{Local: v.On.Local, Shared: v.On.Shared}
	v.EachState(func(b backend.Backend, st backend.State) {
		x, ok := st.(interface {
			Reach(f hostport.Family) (addrset.Set, bool)
		})
		if !ok {
			return
		}
		for _, f := range hostport.Families() {
			if slices.ContainsFunc(v.claims, func(c hostport.Claim) bool { return !c.Foreign && c.Backend == b.Name() && c.Mapping.Family == f }) {
				r := doctor.Reach{Backend: b.Name(), Family: f}
				r.Within, r.SparesServices = x.Reach(f)
				out.Reach = append(out.Reach, r)
			}
		}
	})
	var err error
	out.Virtual, err = v.Node.Virtual(v.On)
	return out, err
}
