// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
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

// A Guard keeps others from 127.0.0.0/8 with rules of one flavour. It is for kernels
// without nf_tables.
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
	p, err := g.look()
	if err != nil {
		return err
	}
	if p.native != nil {
		b, err := p.shrink(want)
		if err != nil || b.Empty() {
			return err
		}
		return g.b.o.Batch(b)
	}
	script := p.script(want)
	if script == "" {
		return nil
	}
	if err := g.b.o.Tools.Restore(g.b.flavour, hostport.IPv4, script); err != nil {
		return fmt.Errorf("could not change the %s rules (IPv4): %w", g.Name(), err)
	}
	return nil
}

// look reads what is there. Without a chain of ours no tool is started.
func (g *Guard) look() (p prerouting, err error) {
	if !slices.Contains(g.b.o.Families, hostport.IPv4) {
		return p, nil
	}
	names, err := g.b.o.Chains(hostport.IPv4, mangle().Name)
	if err != nil || !slices.Contains(names, ruleset.Guard) {
		return p, err
	}
	d, err := g.b.o.Tools.StartSave(g.b.flavour, hostport.IPv4)()
	if err != nil {
		return p, err
	}
	p.there = true
	if err = d.Readable(mangle().Name); err == nil {
		p.head, p.guard = lines(d.Table("mangle").Chain("PREROUTING")), lines(d.Table("mangle").Chain(ruleset.Guard))
		return p, nil
	}
	err = fmt.Errorf("could not read the %s rules (IPv4): %w", g.Name(), err)
	if !errors.Is(err, iptsave.ErrIncompatible) || g.b.flavour != iptables.NFT {
		return p, err
	}
	rules, rerr := g.b.o.Rules(mangle())
	p.native = err
	p.head, p.guard = decoded(rules["PREROUTING"]), decoded(rules[ruleset.Guard])
	return p, rerr
}

// A line is a rule, with its handle where it comes from nf_tables.
type line struct {
	iptsave.Spec
	text   string
	handle uint64
}

func lines(c *iptsave.Chain) []line {
	var out []line
	if c != nil {
		for _, r := range c.Rules {
			out = append(out, line{Spec: r.Spec(), text: r.Text})
		}
	}
	return out
}

func decoded(rules []nft.Rule) []line {
	var out []line
	for _, r := range rules {
		s, _ := xt.Spec(r, hostport.IPv4)
		out = append(out, line{Spec: s, handle: r.Handle})
	}
	return out
}
