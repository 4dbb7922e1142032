// SPDX-License-Identifier: Apache-2.0

// Package portmap keeps nothing: it is the backend of what the plugin portmap has made on
// the node. Its claims are foreign, and all that portguard does there is to take away
// what is left of containers, the dead that a port is taken over from and those that are
// deleted. That is done rule by rule and cannot be undone, so it comes after everything
// else.
package portmap

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/portmap"
)

// Name is the backend's.
const Name = "portmap"

// A Reader reads rules of a flavour of iptables, "nft" or "legacy", and of nf_tables,
// all of a chain. One that is not there is fs.ErrNotExist, or empty. *rules.Reader is one.
type Reader interface {
	Rules(flavour string, t nft.Table, chain string) ([]nft.Rule, error)
}

// Options are what a Backend works with.
type Options struct {
	// CacheDir is libcni's.
	CacheDir string
	// Life says whether the network namespace at a path is there, and if nobody can tell why
	// not.
	Life func(path string) (hostport.Life, string)
	// Families are those of the node.
	Families []hostport.Family
	// Open returns a Reader that has read nothing yet.
	Open func() Reader
	// Iptables runs iptables, which changes one rule or chain a call, and returns what it printed.
	Iptables func(fl iptables.Flavour, f hostport.Family, args ...string) (string, error)
	// Batch changes nf_tables.
	Batch func(*nft.Batch) error
}

// A Backend is what portmap has on the node.
type Backend struct{ o Options }

var _ backend.Backend = (*Backend)(nil)

// New returns the backend.
func New(o Options) *Backend { return &Backend{o} }

// Name implements backend.Backend.
func (b *Backend) Name() string { return Name }

// Owns implements backend.Backend. Portmap's chains are walked like anybody's.
func (b *Backend) Owns(nft.Table, string) bool { return false }

// Try implements backend.Backend. There is nothing to try: ADD takes from the dead only.
func (b *Backend) Try(_, _ backend.State) error { return nil }

// Load finds the containers. No program is started.
func (b *Backend) Load() (backend.State, error) {
	r := b.o.Open()
	s, unread := &State{}, backend.Unread{}
	add := func(p place, where string, found []portmap.Container, err error) {
		if err != nil {
			unread[where] = fmt.Errorf("could not read portmap's rules: %w", err)
		}
		for _, c := range found {
			s.all = append(s.all, entry{Container: c, place: p})
		}
	}
	for _, f := range b.o.Families {
		for _, fl := range iptables.Flavours() {
			found, err := portmap.Iptables(f, func(t nft.Table, chain string) ([]nft.Rule, error) { return r.Rules(string(fl), t, chain) })
			add(place{flavour: fl, family: f}, "iptables-"+string(fl), found, err)
		}
	}
	for _, t := range portmap.Tables() {
		found, err := portmap.Native(t, func(t nft.Table, chain string) ([]nft.Rule, error) { return r.Rules(string(iptables.NFT), t, chain) })
		add(place{table: t}, "nftables", found, err)
	}
	if len(s.all) > 0 {
		s.look(openCache(b.o.CacheDir, b.o.Life))
	}
	return s, unread.Or()
}

// A place is a flavour and family of iptables, or one of portmap's tables of nftables.
type place struct {
	flavour iptables.Flavour
	family  hostport.Family
	table   nft.Table
}

func (p place) String() string {
	if p.flavour == "" {
		return "nftables table " + p.table.String()
	}
	return fmt.Sprintf("iptables-%s table nat", p.flavour)
}

// An entry is what a container has in a place.
type entry struct {
	portmap.Container
	place  place
	life   hostport.Life
	unsure string
}

// A State is what portmap has.
type State struct{ all []entry }

var _ backend.State = (*State)(nil)

// look asks libcni's cache for the containers.
func (s *State) look(c cache) {
	type answer struct {
		owner  hostport.Owner
		life   hostport.Life
		unsure string
	}
	known := map[hostport.Key]answer{}
	for i, e := range s.all {
		a, asked := known[e.Key]
		if !asked {
			a.owner, a.life, a.unsure = c.owner(e.Owner)
			known[e.Key] = a
		}
		s.all[i].Owner, s.all[i].life, s.all[i].unsure = a.owner, a.life, a.unsure
	}
}

// Claims are the mappings of portmap.
func (s *State) Claims() []hostport.Claim {
	var out []hostport.Claim
	for _, e := range s.all {
		for _, c := range e.Claims {
			c.Owner, c.Backend, c.Where, c.Priority = e.Owner, Name, e.place.String(), priority
			c.Life, c.Unsure = e.life, e.unsure
			out = append(out, c)
		}
	}
	return out
}

// priority is that of portmap's base chains (NF_IP_PRI_NAT_DST).
const priority = -100

// With has nothing new, and nothing of those in whose stead the attachment comes.
func (s *State) With(_ hostport.Attachment, instead ...hostport.Key) backend.State {
	return s.Without(instead...)
}

// WithAll does the same.
func (s *State) WithAll(_ []hostport.Attachment, instead ...hostport.Key) backend.State {
	return s.Without(instead...)
}

// Without has none of the containers with those keys; portmap.Keys tells them.
func (s *State) Without(keys ...hostport.Key) backend.State {
	if len(keys) == 0 {
		return s
	}
	return &State{slices.DeleteFunc(slices.Clone(s.all), func(e entry) bool { return slices.Contains(keys, e.Key) })}
}

// Missing is empty: nobody needs anything here.
func (s *State) Missing(hostport.Attachment) []string { return nil }

// Whole is always so.
func (s *State) Whole(hostport.Attachment) bool { return true }

// Recover tells the container, and what of its mappings the rules tell.
func (s *State) Recover(key hostport.Key) (a hostport.Attachment, ok bool) {
	for _, e := range s.all {
		if e.Key != key {
			continue
		}
		a.Owner, ok = e.Owner, true
		for _, c := range e.Claims {
			a.Mappings = append(a.Mappings, c.Mapping)
			if _, has := a.Pod(c.Mapping.Family); !has {
				a.Pods = append(a.Pods, netip.PrefixFrom(c.Target.Addr(), c.Target.Addr().BitLen()))
			}
		}
	}
	return a, ok
}
