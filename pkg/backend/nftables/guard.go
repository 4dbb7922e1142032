// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/backend/nftables/elements"
	"github.com/portguard/portguard/pkg/nftconn"
)

// A Guard is the guard of route_localnet in table inet portguard-localnet.
type Guard struct {
	kernel kernel
	links  elements.Links
}

var _ localnet.Guard = (*Guard)(nil)

// NewGuard returns the guard of links that changes nf_tables over a connection.
func NewGuard(c *nftconn.Conn, links elements.Links) *Guard { return &Guard{netlink{c}, links} }

// Name implements localnet.Guard.
func (g *Guard) Name() string { return Name }

// Load implements localnet.Guard.
func (g *Guard) Load() (map[string]localnet.Link, error) {
	t, err := elements.GuardSpec().Read(g.kernel.reader())
	if err != nil {
		return nil, err
	}
	return elements.Guarded(t, g.links)
}

// Apply implements localnet.Guard. The table is read again: a few links, and what is
// broken shows.
func (g *Guard) Apply(_, want map[string]localnet.Link) error {
	t, err := elements.GuardSpec().Read(g.kernel.reader())
	if err != nil {
		return err
	}
	to, err := elements.WithGuarded(t, want, g.links)
	if err != nil {
		return err
	}
	return change(g.kernel, t, to)
}
