// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nfttable"
)

// Facts collects what doctor must know of the node, for ADDs with configuration
// c. The conflists are not among it. Nothing changes.
func (p *Plugin) Facts(c *netconf.Config) (f doctor.Facts, err error) {
	i, err := p.inspect(c.DataDir)
	if err != nil {
		return f, err
	}
	f.Backend, f.Why, f.BackendErr = i.wouldUse(c)
	f.StateErr, f.StateLoose = i.store.CouldWrite(), i.store.Loose()
	if f.Proxies, err = i.proxies(); err != nil {
		return f, err
	}
	f.Misplaced = i.misplaced()
	if i.view.table.Foreign() {
		f.Stranger = nfttable.Name().String()
	}
	if f.List, err = i.list(c.CacheDir); err != nil {
		return f, err
	}
	for _, fam := range nodeFamilies() {
		on, err := host.Forwarding(fam)
		if err != nil {
			return f, err
		}
		if !on {
			f.NoForwarding = append(f.NoForwarding, fam)
		}
	}
	p.progress("asking the filters about forwarded packets")
	if f.Dropped, err = i.dropped(); err != nil {
		return f, err
	}
	if f.EphemeralFrom, f.EphemeralTo, err = host.EphemeralPorts(); err != nil {
		return f, err
	}
	f.Reserved, err = host.ReservedPorts()
	return f, err
}

// wouldUse is where an ADD would put mappings now.
func (i *inspection) wouldUse(c *netconf.Config) (backend, why string, err error) {
	backend, why, err = choose(c, i.on)
	if err != nil || backend == netconf.NFTables {
		return backend, why, err
	}
	fl, err := i.view.target(i.tools)
	for _, f := range nodeFamilies() {
		if err == nil {
			err = i.tools.Installed(fl, f)
		}
	}
	return backend + "-" + string(fl), why, err
}
