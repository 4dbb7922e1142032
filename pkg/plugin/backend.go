// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"os"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nft"
)

// choose says where the mappings go, and why. In kube-proxy's ipvs mode every
// Service's address is one of the node's, and an ACCEPT for a
// Service keeps only the rules behind it in the same table from its traffic, so
// there only iptables will do.
func choose(c *netconf.Config, on *host.Addressing) (backend, why string, err error) {
	kernel := nft.Supported()
	switch {
	case c.Backend == netconf.IPTables:
		return netconf.IPTables, "the configuration names it", nil
	case c.Backend == netconf.NFTables && on.IPVS:
		return "", "", fmt.Errorf(`backend "nftables" cannot spare the Services of kube-proxy's ipvs mode; use "auto" or "iptables"`)
	case c.Backend == netconf.NFTables && kernel != nil:
		return "", "", fmt.Errorf(`backend "nftables" does not work on this node: %w; use "auto" or "iptables"`, kernel)
	case c.Syntax == netconf.NFTables && on.IPVS:
		return "", "", fmt.Errorf("conditions in the syntax of nftables need the backend nftables, which cannot spare the Services of kube-proxy's ipvs mode; write them for iptables")
	case c.Syntax == netconf.NFTables && kernel != nil:
		return "", "", fmt.Errorf("conditions in the syntax of nftables need the backend nftables: %w; write them for iptables", kernel)
	case c.Syntax == netconf.NFTables && !nft.HasTool():
		return "", "", fmt.Errorf("conditions in the syntax of nftables: %w and nobody else can read them; install it or write them for iptables", nft.ErrNoTool)
	case c.Backend == netconf.NFTables:
		return netconf.NFTables, "the configuration names it", nil
	case c.Syntax != "":
		return c.Syntax, "the conditions are in its syntax", nil
	case on.IPVS:
		return netconf.IPTables, "kube-proxy is in ipvs mode", nil
	case kernel != nil:
		return netconf.IPTables, kernel.Error(), nil
	}
	return netconf.NFTables, "the kernel has nf_tables and kube-proxy is not in ipvs mode", nil
}

// debug writes a line if PORTGUARD_DEBUG is set.
func (p *Plugin) debug(format string, args ...any) {
	if os.Getenv("PORTGUARD_DEBUG") != "" {
		p.warn(fmt.Sprintf("debug: "+format, args...))
	}
}
