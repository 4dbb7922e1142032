// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
)

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

// ready looks for what would make every ADD fail, without the lock: runtimes ask often.
func (p *Plugin) ready(c *netconf.Config) error {
	if !c.Capable {
		return advised{errors.New(`the container runtime tells it no hostPorts; give portguard "capabilities": {"portMappings": true} in the conflist`)}
	}
	store := state.Open(c.DataDir)
	if err := store.Writable(); err != nil {
		return err
	}
	s, err := p.Begin(store, c.LockTimeout)
	if err != nil {
		return err
	}
	choice, err := place.Of(place.Wish{Backend: c.Backend, Syntax: c.Syntax}, s.Facts)
	if err != nil {
		return err
	}
	return p.Node.Ready(choice.Backend)
}
