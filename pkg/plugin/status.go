// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
)

// Status fails for what makes every ADD fail, and for nothing else: where it does, no pod is
// started on the node, with hostPorts or without. That is a configuration that cannot be
// read, and a process without CAP_NET_ADMIN over the network namespace, in which no plugin
// of the list can do anything. It takes no lock and starts no program: kubelets ask often.
func (p *Plugin) Status(args *skel.CmdArgs) error {
	c, err := netconf.Parse(args.StdinData)
	if err != nil {
		return cniError(err, types.ErrDecodingFailure)
	}
	if err := p.Node.Allowed(); err != nil {
		return newError(types.ErrPluginNotAvailable, "portguard may not change the network of this node: "+told(err, CodeApply))
	}
	if c.Template.Reserve == hostport.ReserveRequire {
		if err := p.Node.Holds(); err != nil {
			return newError(types.ErrPluginNotAvailable, told(err, CodeApply)+` (the configuration has "reserve": "require")`)
		}
	}
	return nil
}
