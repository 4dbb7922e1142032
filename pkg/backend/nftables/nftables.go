// SPDX-License-Identifier: Apache-2.0

// Package nftables is the backend that keeps mappings in a table of nftables of
// portguard's own, and the guard of route_localnet in another. What is in them is
// package elements' to know; here they are read and changed.
package nftables

import (
	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/nftables/elements"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
)

// Name is the backend's.
const Name = elements.Name

// A Backend keeps mappings in table inet portguard.
type Backend struct {
	kernel kernel
	// within are the destinations at which mappings may be.
	within map[hostport.Family]addrset.Set
	// spec is what the table always has.
	spec nfttable.Spec
}

var _ backend.Backend = (*Backend)(nil)

// New returns the backend that changes nf_tables over a connection, and lets mappings be at
// those destinations.
func New(c *nftconn.Conn, within map[hostport.Family]addrset.Set) *Backend {
	return newBackend(netlink{c}, within)
}

func newBackend(k kernel, within map[hostport.Family]addrset.Set) *Backend {
	return &Backend{k, within, elements.Spec()}
}

// Name implements backend.Backend.
func (b *Backend) Name() string { return Name }

// Owns implements backend.Backend: the chains of the guard too.
func (b *Backend) Owns(t nft.Table, chain string) bool {
	return b.spec.Owns(t, chain) || t == elements.GuardTable() && elements.GuardSpec().Owns(t, chain)
}

// Load implements backend.Backend. The State is an *elements.State.
func (b *Backend) Load() (backend.State, error) {
	t, err := b.spec.Read(b.kernel.reader())
	if err != nil {
		return nil, err
	}
	return &elements.State{Table: t, Within: b.within}, nil
}

// Apply implements backend.Backend. A table of that name that is not ours is an error
// (nfttable.ErrVersion) if there is anything to change.
func (b *Backend) Apply(have, want backend.State) error {
	return change(b.kernel, have.(*elements.State).Table, want.(*elements.State).Table)
}

// Try implements backend.Backend. Of chains with conditions it tries what they stand on.
func (b *Backend) Try(have, want backend.State) error {
	h, w := have.(*elements.State).Table, want.(*elements.State).Table
	if h.Stranger != nil {
		return h.Stranger
	}
	err := b.try(h, w)
	if lesser, ok := withoutIt(h, w, err); ok && b.try(h, lesser) == nil {
		return nil
	}
	return lacking(h, err)
}

func (b *Backend) try(have, want *nfttable.Table) error {
	plan := nfttable.Diff(have, want)
	batch := plan.Commit
	if plan.Script != "" {
		batch = plan.Prepare
	}
	return b.kernel.try(batch)
}

// A kernel is what changes need of nf_tables.
type kernel interface {
	reader() nfttable.Source
	apply(b *nft.Batch) error
	try(b *nft.Batch) error
	runScript(script string) error
}

// netlink is the real one.
type netlink struct{ c *nftconn.Conn }

func (n netlink) reader() nfttable.Source { return n.c.Reader() }

func (n netlink) apply(b *nft.Batch) error { return n.c.Apply(b) }

func (n netlink) try(b *nft.Batch) error { return n.c.Try(b) }

func (netlink) runScript(script string) error { return nftconn.RunScript(script) }
