// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
)

// A Printer prints rules as iptables-save does. It reads each table once.
type Printer struct {
	tools  *Tools
	tables map[place]*iptsave.Table
}

type place struct {
	flavour Flavour
	family  hostport.Family
	table   string
}

// Printer returns a Printer of the rules as they are when it is first asked.
func (t *Tools) Printer() *Printer { return &Printer{t, map[place]*iptsave.Table{}} }

// Rule prints the rule that stands at index, from 0, in a chain, without "-A CHAIN"; ""
// if the tool cannot, or it is not there any more.
func (p *Printer) Rule(fl Flavour, f hostport.Family, table, chain string, index int) string {
	at := place{fl, f, table}
	t, known := p.tables[at]
	if !known {
		t, _ = p.tools.Save(fl, f, table)
		p.tables[at] = t
	}
	c := t.Chain(chain)
	if c == nil || index < 0 || index >= len(c.Rules) {
		return ""
	}
	return c.Rules[index].Text
}

// RuleByHandle prints a rule of iptables-nft that is known by its handle.
func (p *Printer) RuleByHandle(f hostport.Family, table, chain string, handle uint64) string {
	rules, err := nftconn.NewReader().Rules(nft.Table{Family: f.NFProto(), Name: table}, chain)
	if err != nil {
		return ""
	}
	return p.Rule(NFT, f, table, chain, slices.IndexFunc(rules, func(r nft.Rule) bool { return r.Handle == handle }))
}
