// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/ruleset"
)

// A scout names the chains of a big iptables-nft table that packets for a
// hostPort usually get to, so that only those need be read as text. What it
// leaves out are the chains behind a match, as kube-proxy has one for each
// Service. A decision that comes to such a chain cannot look into it and counts
// it as taken; it is then made again with everything read.
type scout struct {
	reader *nft.Reader
	// own leaves out what only a decision needs.
	own bool
}

func newScout() *scout { return &scout{reader: nft.NewReader()} }

const (
	// bigTable is from how many chains on a part is read faster than the whole.
	bigTable = 200
	// fewChains is how many the scout follows before it gives up.
	fewChains = 100
)

// save reads the rules of a place: of a big table of iptables-nft only what
// usually matters, and everything where that fails.
func (s *scout) save(t *iptables.Tools, fl iptables.Flavour, f hostport.Family) (d *iptsave.Dump, part bool, err error) {
	if s != nil && fl == iptables.NFT {
		if chains, err := s.chains(f); err == nil && chains != nil {
			if d, err := t.SaveChains(f, chains); err == nil {
				return d, true, nil
			}
		}
	}
	d, err = t.Save(fl, f)
	return d, false, err
}

// chains names what to read of each table, nil for everything.
func (s *scout) chains(f hostport.Family) (map[string][]string, error) {
	family := nft.IPv4
	if f == hostport.IPv6 {
		family = nft.IPv6
	}
	nat, err := s.reader.Names(nft.Table{Family: family, Name: "nat"})
	if err != nil || len(nat) < bigTable {
		return nil, err
	}
	out := map[string][]string{}
	for table, from := range map[string][]string{
		"nat":    {"PREROUTING", "OUTPUT", "POSTROUTING"},
		"mangle": {"PREROUTING", "KUBE-IPTABLES-HINT"},
		"filter": {"INPUT", "FORWARD", "OUTPUT", "KUBE-EXTERNAL-SERVICES"},
	} {
		at := nft.Table{Family: family, Name: table}
		there, err := s.reader.Names(at)
		if err != nil {
			return nil, err
		}
		keep := from
		switch {
		case s.own && table == "filter":
			continue
		case !s.own && table != "filter": // of filter only kube-proxy's chain is looked into
			if keep, err = s.follow(at, from, there); err != nil || len(keep) > fewChains {
				return nil, err
			}
		}
		out[table] = slices.DeleteFunc(slices.Clone(there), func(c string) bool {
			return !slices.Contains(keep, c) && !ruleset.IsOurs(c)
		})
	}
	return out, nil
}

// follow lists the chains that those in from lead to. Of kube-proxy's the ones
// for all NodePorts are taken, not those for each Service.
func (s *scout) follow(t nft.Table, from, there []string) ([]string, error) {
	keep := slices.Clone(from)
	if slices.Contains(there, "KUBE-SERVICES") {
		keep = append(keep, "KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-NODE-PORT")
	}
	for i := 0; i < len(keep) && len(keep) <= fewChains; i++ {
		if strings.HasPrefix(keep[i], "KUBE-") || !slices.Contains(there, keep[i]) {
			continue
		}
		rules, err := s.reader.Rules(t, keep[i])
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if c := r.Target(); c != "" && !slices.Contains(keep, c) && !ruleset.IsOurs(c) {
				keep = append(keep, c)
			}
		}
	}
	return keep, nil
}
