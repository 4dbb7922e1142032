// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/state"
)

// ready looks for what would make every ADD fail, without the lock and without a
// fork where nothing is in iptables-legacy: runtimes ask often.
func (p *Plugin) ready(c *netconf.Config) error {
	if !c.Capable {
		return advised{errors.New(`the container runtime tells it no hostPorts; give portguard "capabilities": {"portMappings": true} in the conflist`)}
	}
	if err := state.Open(c.DataDir).Writable(); err != nil {
		return err
	}
	on, err := host.Addresses()
	if err != nil {
		return err
	}
	backend, _, err := choose(c, on)
	if err != nil {
		return err
	}
	t := p.tools(c.LockTimeout)
	// Rules of a flavour whose tools are missing cannot be read.
	for _, fl := range flavours() {
		for _, f := range nodeFamilies() {
			there, err := t.Present(fl, f)
			if err == nil && there && (fl == iptables.Legacy || backend == netconf.IPTables) {
				err = t.Installed(fl, f)
			}
			if err != nil {
				return err
			}
		}
	}
	if backend == netconf.NFTables {
		_, err = nftconn.NewReader().BaseChains()
		return err
	}
	v, err := look(t, &scout{reader: nftconn.NewReader()}, flavours(), nodeFamilies())
	if err != nil {
		return err
	}
	fl, err := v.target(t)
	if err != nil {
		return err
	}
	for _, f := range nodeFamilies() {
		if err := t.Installed(fl, f); err != nil {
			return err
		}
	}
	return nil
}
