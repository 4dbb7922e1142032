// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
)

// A Printer prints rules as iptables-save does. It reads each flavour and family once.
type Printer struct {
	tools *Tools
	dumps map[place]*iptsave.Dump
}

type place struct {
	flavour Flavour
	family  hostport.Family
}

// Printer returns a Printer of the rules as they are when it is first asked.
func (t *Tools) Printer() *Printer { return &Printer{t, map[place]*iptsave.Dump{}} }

// Rule prints the rule that stands at index, from 0, in a chain, without "-A CHAIN".
func (p *Printer) Rule(fl Flavour, f hostport.Family, table, chain string, index int) (string, error) {
	d, known := p.dumps[place{fl, f}]
	if !known {
		var err error
		if d, err = p.tools.Save(fl, f); err != nil {
			return "", err
		}
		p.dumps[place{fl, f}] = d
	}
	if err := d.Readable(table); err != nil {
		return "", fmt.Errorf("could not print a rule of iptables-%s (%s): %w", fl, f, err)
	}
	c := d.Table(table).Chain(chain)
	if c == nil || index < 0 || index >= len(c.Rules) {
		return "", fmt.Errorf("could not print a rule of iptables-%s (%s): chain %s of table %s has no rule %d any more", fl, f, chain, table, index+1)
	}
	return c.Rules[index].Text, nil
}

// RuleByHandle prints a rule of iptables-nft that is known by its handle.
func (p *Printer) RuleByHandle(f hostport.Family, table, chain string, handle uint64) (string, error) {
	rules, err := nftconn.NewReader().Rules(nft.Table{Family: f.NFProto(), Name: table}, chain)
	if err != nil {
		return "", err
	}
	return p.Rule(NFT, f, table, chain, slices.IndexFunc(rules, func(r nft.Rule) bool { return r.Handle == handle }))
}
