// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"os"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/ruleset"
	"github.com/portguard/portguard/pkg/state"
)

// choose says where the mappings go, and why. In kube-proxy's ipvs mode every
// Service's address is one of the node's, and an ACCEPT for a Service keeps only
// the rules behind it in the same table from its traffic, so there only iptables
// will do.
func choose(c *netconf.Config, on *host.Addressing) (backend, why string, err error) {
	return chooseFor(c, on, nftconn.Supported())
}

// chooseFor chooses on a kernel that lacks something, or not.
func chooseFor(c *netconf.Config, on *host.Addressing, kernel error) (backend, why string, err error) {
	switch {
	case c.Backend == netconf.IPTables:
		return netconf.IPTables, "the configuration names it", nil
	case (c.Backend == netconf.NFTables || c.Syntax == netconf.NFTables) && passes(kernel):
		return "", "", kernel
	case c.Backend == netconf.NFTables && on.IPVS:
		return "", "", wrongConfig(`backend "nftables" cannot spare the Services of kube-proxy's ipvs mode; use "auto" or "iptables"`)
	case c.Backend == netconf.NFTables && kernel != nil:
		return "", "", wrongConfig(`backend "nftables" does not work on this node: %w; use "auto" or "iptables"`, kernel)
	case c.Syntax == netconf.NFTables && on.IPVS:
		return "", "", wrongConfig("conditions in the syntax of nftables need the backend nftables, which cannot spare the Services of kube-proxy's ipvs mode; write them for iptables")
	case c.Syntax == netconf.NFTables && kernel != nil:
		return "", "", wrongConfig("conditions in the syntax of nftables need the backend nftables: %w; write them for iptables", kernel)
	case c.Syntax == netconf.NFTables && !nftconn.HasTool():
		return "", "", wrongConfig("conditions in the syntax of nftables: %w, and nobody else can read them; install it or write them for iptables", nftconn.ErrNoTool)
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

// wrongConfig is the error of a configuration that this node cannot serve.
func wrongConfig(format string, args ...any) error {
	return newError(types.ErrInvalidNetworkConfig, fmt.Errorf(format, args...).Error())
}

// debug writes a line if PORTGUARD_DEBUG is set.
func (p *Plugin) debug(format string, args ...any) {
	if os.Getenv("PORTGUARD_DEBUG") != "" {
		p.warn(fmt.Sprintf("debug: "+format, args...))
	}
}

// leaveToOwners splits mappings, with the policy "warn", into those to install
// and those that another live attachment keeps. Beside one for a single address a
// wildcard serves the others, where both are in one backend: of two the first that
// is asked would take all.
func leaveToOwners(ms []hostport.Mapping, claims []hostport.Claim, key, backend string) (kept, left []hostport.Mapping) {
	for _, m := range ms {
		owned := slices.ContainsFunc(claims, func(c hostport.Claim) bool {
			beside := m.Wildcard() && !c.Mapping.Wildcard() && c.Backend == backend
			return c.Key != key && !c.Dead && c.Mapping.Overlaps(m) && !beside
		})
		if owned {
			left = append(left, m)
		} else {
			kept = append(kept, m)
		}
	}
	return kept, left
}

// leaveNftables moves attachments from nftables to iptables if kube-proxy turned
// out to be in ipvs mode after they were added: there they would take the traffic
// of Services. Those with conditions that only nft can read have to stay.
func (p *Plugin) leaveNftables(c *change, d *decision, store *state.Store) []state.Record {
	var moved []state.Record
	if d.backend != netconf.IPTables || !d.ipvs {
		return nil
	}
	for _, key := range c.table.Keys() {
		rec, err := store.Load(key)
		if err != nil || len(rec.Attachment.ConditionsV4)+len(rec.Attachment.ConditionsV6) > 0 {
			who := "an attachment without a record"
			if rec != nil {
				who = rec.Attachment.Owner.String()
			}
			p.warn(fmt.Sprintf("hostPorts of %s stay in nftables, where they may take the traffic of Services of kube-proxy's ipvs mode; restart the pod", who))
			continue
		}
		for _, at := range c.view.places {
			if at.flavour == d.flavour {
				c.want[at] = c.want[at].Put(rec.Attachment, ruleset.Node{Sets: d.node[at.family].Sets, RouteLocalnet: c.view.table.Guarded()})
			}
		}
		c.table = c.table.Remove(key)
		// From now on a DEL looks everywhere, whenever we are killed.
		if rec.Moved = true; store.Save(*rec) != nil {
			continue
		}
		rec.Backend, rec.Flavour = netconf.IPTables, string(d.flavour)
		moved = append(moved, *rec)
	}
	return moved
}
