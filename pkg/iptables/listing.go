// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// StartChains begins to read some chains of each table of the nft flavour, in one
// process: iptables-nft-restore takes listing commands too, and then asks the kernel for
// nothing else. With 20,000 rules of kube-proxy that is a hundredth of a save. What it
// returns must be called.
func (t *Tools) StartChains(f hostport.Family, chains map[string][]string) func() (*iptsave.Dump, error) {
	var script strings.Builder
	var tables []string
	for _, table := range []string{"filter", "mangle", "nat"} {
		if len(chains[table]) == 0 {
			continue
		}
		tables = append(tables, table)
		fmt.Fprintf(&script, "*%s\n", table)
		for _, c := range chains[table] {
			fmt.Fprintf(&script, "-S %s\n", iptsave.Quote(c))
		}
		script.WriteString("COMMIT\n")
	}
	if len(tables) == 0 {
		return func() (*iptsave.Dump, error) { return nil, nil }
	}
	p, err := path(NFT, f, "restore")
	if err != nil {
		return func() (*iptsave.Dump, error) { return nil, err }
	}
	wait := t.start(p, script.String(), "--noflush")
	return func() (*iptsave.Dump, error) {
		out, stderr, err := wait()
		if err != nil {
			return nil, err
		}
		return listings(f, tables, chains, out, stderr)
	}
}

// listings gives each table its part of an output: the chains come in the order in
// which they were asked for.
func listings(f hostport.Family, tables []string, chains map[string][]string, out, stderr string) (*iptsave.Dump, error) {
	if strings.Contains(out+stderr, "incompatible") {
		return nil, iptsave.ErrIncompatible
	}
	lines, err := iptsave.Lines(out)
	if err != nil {
		return nil, err
	}
	d := iptsave.NewDump()
	for i, part := range splitListing(lines, tables, chains) {
		if err := d.ParseListing(tables[i], part, chains[tables[i]]); err != nil {
			return nil, fmt.Errorf("iptables-nft table %s: %w", tables[i], err)
		}
	}
	return d, hideNative(d, f)
}

// splitListing gives each table the part of the output that its chains are in.
func splitListing(lines, tables []string, chains map[string][]string) []string {
	parts := make([]strings.Builder, len(tables))
	i, left := 0, len(chains[tables[0]])
	for _, line := range lines {
		if strings.HasPrefix(line, "-P ") || strings.HasPrefix(line, "-N ") {
			if left == 0 && i+1 < len(tables) {
				i++
				left = len(chains[tables[i]])
			}
			left--
		}
		parts[i].WriteString(line + "\n")
	}
	texts := make([]string, len(parts))
	for i := range parts {
		texts[i] = parts[i].String()
	}
	return texts
}
