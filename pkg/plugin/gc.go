// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/state"
)

// GC removes the attachments of the network that the runtime does not know any
// more: rules, UDP flows and records. Other networks' stay.
func (p *Plugin) GC(args *skel.CmdArgs) error {
	g, err := netconf.ParseGC(args.StdinData)
	if err != nil {
		return cniError(err, types.ErrDecodingFailure)
	}
	store := state.Open(g.DataDir)
	if !g.Given {
		return nil
	}
	unlock, err := store.Lock(g.LockTimeout)
	if err != nil {
		return cniError(err, CodeApply)
	}
	defer unlock()
	t := p.tools(g.LockTimeout)
	v, err := look(t, &scout{reader: nftconn.NewReader(), ours: true}, flavours(), nodeFamilies())
	if err == nil {
		err = v.readTable(nil)
	}
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	var stale []string
	for key, network := range v.networks(store) {
		if network == g.Name && !slices.Contains(g.Valid, key) {
			stale = append(stale, key)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	slices.Sort(stale)
	p.debug("gc: removes %d attachments of network %s", len(stale), g.Name)
	return cniError(p.remove(v, store, t, stale...), CodeApply)
}

// networks are those of all attachments, by key: from the records, or from the
// rules where there is none.
func (v *view) networks(store *state.Store) map[string]string {
	out := map[string]string{}
	for _, c := range v.claims() {
		if c.Key != "" {
			out[c.Key] = c.Owner.Network
		}
	}
	for _, key := range store.Keys() {
		if rec, err := store.Load(key); err == nil {
			out[key] = rec.Attachment.Owner.Network
		}
	}
	return out
}

// Status says whether an ADD could do its job on this node.
func (p *Plugin) Status(args *skel.CmdArgs) error {
	c, err := netconf.Parse(args.StdinData)
	if err != nil {
		return cniError(err, types.ErrDecodingFailure)
	}
	if err := p.ready(c); err != nil {
		return newError(types.ErrPluginNotAvailable, "portguard cannot map hostPorts on this node: "+told(err, CodeUnreadable))
	}
	return nil
}
