// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/state"
)

// GC removes the attachments of the network that the runtime does not know any more:
// rules, UDP flows and records. Other networks' stay.
func (p *Plugin) GC(args *skel.CmdArgs) error {
	g, err := netconf.ParseGC(args.StdinData)
	if err != nil {
		return cniError(err, types.ErrDecodingFailure)
	}
	if !g.Given {
		return nil
	}
	store := state.Open(g.DataDir)
	unlock, err := p.lockToRemove(store, g.LockTimeout)
	if err != nil {
		return cniError(err, CodeApply)
	}
	defer unlock()
	s, err := p.Begin(store, g.LockTimeout, hostport.Attachment{})
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	s.loadWarned(netconf.DefaultCacheDir)
	var stale []hostport.Key
	all, _ := s.Attachments() // of records that cannot be read it has the rules
	for key, a := range all {
		o := a.Owner
		if o.Network != g.Name || slices.Contains(g.Valid, key) {
			continue
		}
		if life, why := s.Life(o, s.Record(key)); life == hostport.Unknown {
			p.warn("gc leaves " + unsure(o, why))
			continue
		}
		stale = append(stale, key)
	}
	slices.Sort(stale)
	p.debug("gc: removes %d attachments of network %s, and what killed calls have left", len(stale), g.Name)
	return cniError(s.Remove(stale), CodeApply)
}
