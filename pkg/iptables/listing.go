// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// SaveChains reads some chains of each table of the nft flavour, in one process:
// iptables-nft-restore takes listing commands too, and then asks the kernel for
// nothing else. With 20,000 rules of kube-proxy that is a hundredth of a save.
func (t *Tools) SaveChains(f hostport.Family, chains map[string][]string) (*iptsave.Dump, error) {
	d := iptsave.NewDump()
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
		return nil, nil
	}
	return d, t.listings(d, f, tables, chains, script.String())
}

// listings runs the script and gives each table its part of the output: the
// chains come in the order in which they were asked for.
func (t *Tools) listings(d *iptsave.Dump, f hostport.Family, tables []string, chains map[string][]string, script string) error {
	p, err := path(NFT, f, "restore")
	if err != nil {
		return err
	}
	out, stderr, err := t.run(p, script, "--noflush")
	if err != nil {
		return err
	}
	if strings.Contains(out+stderr, "incompatible") {
		return iptsave.ErrIncompatible
	}
	lines, err := iptsave.Lines(out)
	if err != nil {
		return err
	}
	for i, part := range splitListing(lines, tables, chains) {
		if err := d.ParseListing(tables[i], part, chains[tables[i]]); err != nil {
			return fmt.Errorf("iptables-nft table %s: %w", tables[i], err)
		}
	}
	return hideNative(d, f)
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
