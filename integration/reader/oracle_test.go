// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/integration/oracle"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/rules"
)

// The same text in iptables-nft and in iptables-legacy is read as the same rules, whatever
// the oracle's generator draws.
func TestFlavoursAreReadAlike(t *testing.T) {
	const seeds = 150
	n := lab.NewNetns(t, "reader")
	n.Feed(strings.Join(oracle.IPSets(), "\n")+"\n", "ipset", "restore")
	compared, refused := map[hostport.Family]int{}, 0
	for seed := uint64(1); seed <= seeds; seed++ {
		for _, s := range oracle.Generate(seed, false) {
			f := map[bool]hostport.Family{false: hostport.IPv4, true: hostport.IPv6}[s.V6]
			read, ok := both(t, n, s, f)
			if !ok {
				refused++
				continue
			}
			if d := cmp.Diff(read[0], read[1]); d != "" {
				t.Fatalf("seed %d (-nft +legacy):\n%s\n%s", seed, d, s.Script())
			}
			compared[f] += len(s.Rules)
		}
	}
	if len(compared) != 2 || refused*4 > seeds {
		t.Errorf("only %v is compared, %d sets are refused", compared, refused)
	}
	t.Logf("rules by family: %v; %d sets are refused", compared, refused)
}

// both loads a set into each flavour and reads it. A tool may refuse it.
func both(t *testing.T, n *lab.Netns, s oracle.Set, f hostport.Family) (read [2]string, ok bool) {
	t.Helper()
	for i, flavour := range []string{rules.NFT, rules.Legacy} {
		s.Flavour = flavour
		if _, err := n.Try(s.Script(), s.Restore()...); err != nil {
			return read, false
		}
		var err error
		n.Do(func() { read[i], err = text(flavour, f, append(s.Chains, "PREROUTING", "OUTPUT")) })
		if err != nil {
			t.Fatalf("%v\n%s", err, s.Script())
		}
	}
	return read, true
}

// text writes the rules of some chains of table nat.
func text(flavour string, f hostport.Family, chains []string) (string, error) {
	r, out := rules.New(rules.Options{Proc: "/proc"}), ""
	var failed error
	for _, c := range chains {
		list, err := r.Rules(flavour, nft.Table{Family: f.NFProto(), Name: "nat"}, c)
		failed = errors.Join(failed, err)
		for _, ru := range list {
			out += fmt.Sprintf("%s: %s\n", c, lab.RuleText(ru, f == hostport.IPv6))
		}
	}
	return out, failed
}
