// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// A Guard keeps others from 127.0.0.0/8 with rules of one flavour, for the attachments
// whose mappings are in that flavour.
type Guard struct{ b *Backend }

var _ localnet.Guard = (*Guard)(nil)

// NewGuard returns the guard in a flavour.
func NewGuard(fl iptables.Flavour, o Options) *Guard { return &Guard{New(fl, o)} }

// Name is that of the flavour.
func (g *Guard) Name() string { return g.b.Name() }

// mangle is the table that the guard is in.
func mangle() nft.Table { return nft.Table{Family: nft.IPv4, Name: "mangle"} }

// Load reads the links that are guarded.
func (g *Guard) Load() (map[string]localnet.Link, error) {
	p, err := g.look()
	if err != nil {
		return nil, err
	}
	links := p.links()
	for _, what := range p.broken() {
		for name, l := range links {
			l.Broken = append(l.Broken, fmt.Sprintf("%s: IPv4 table mangle: %s", g.Name(), what))
			links[name] = l
		}
	}
	return links, nil
}

// Apply makes the rules anew, in one run of iptables-restore.
func (g *Guard) Apply(_, want map[string]localnet.Link) error {
	for name := range want {
		if !iptsave.Nameable(name) {
			return fmt.Errorf("rules of iptables cannot name the link %q alone; rename it or set \"localhost\": false", name)
		}
	}
	p, err := g.look()
	if err != nil {
		return err
	}
	if len(want) == 0 && !p.there {
		return nil
	}
	if p.native != nil {
		b, err := p.shrink(want)
		if err != nil || b.Empty() {
			return err
		}
		return g.b.o.Batch(b)
	}
	if err := g.b.restore(hostport.IPv4, p.script(want)); err != nil {
		return fmt.Errorf("could not change the %s rules (IPv4): %w", g.Name(), err)
	}
	return nil
}

// look reads what is there.
func (g *Guard) look() (p mangling, err error) {
	if !slices.Contains(g.b.o.Families, hostport.IPv4) {
		return p, nil
	}
	rules, foreign, err := g.b.read(g.b.o.Open(), hostport.IPv4, mangle())()
	if err != nil {
		return p, fmt.Errorf("could not read the %s rules (IPv4): %w", g.Name(), err)
	}
	p.there, p.guard, p.heads = len(rules) > 0, lines(rules[ruleset.Guard]), map[string][]line{}
	for _, hook := range hooks() {
		p.heads[hook] = lines(rules[hook])
	}
	if foreign {
		p.native = fmt.Errorf("could not read the %s rules (IPv4): table mangle: %w", g.Name(), iptsave.ErrIncompatible)
	}
	return p, nil
}

// A line is a rule with its handle.
type line struct {
	iptsave.Spec
	handle uint64
}

func lines(rules []nft.Rule) []line {
	var out []line
	for _, r := range rules {
		s, _ := xt.Spec(r, hostport.IPv4)
		out = append(out, line{s, r.Handle})
	}
	return out
}
