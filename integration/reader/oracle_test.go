// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"errors"
	"fmt"
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
	compared := map[hostport.Family]int{}
	for seed := uint64(1); seed <= seeds; seed++ {
		for _, s := range oracle.Generate(seed, false) {
			f := map[bool]hostport.Family{false: hostport.IPv4, true: hostport.IPv6}[s.V6]
			var read [2]string
			for i, flavour := range []string{rules.NFT, rules.Legacy} {
				s.Flavour = flavour
				n.Feed(s.Script(), s.Restore()...)
				var err error
				n.Do(func() { read[i], err = text(flavour, f, append(s.Chains, "PREROUTING", "OUTPUT")) })
				if err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, s.Script())
				}
			}
			if d := cmp.Diff(read[0], read[1]); d != "" {
				t.Fatalf("seed %d (-nft +legacy):\n%s\n%s", seed, d, s.Script())
			}
			compared[f] += len(s.Rules)
		}
	}
	if len(compared) != 2 {
		t.Errorf("only %v is compared", compared)
	}
	t.Logf("rules by family: %v", compared)
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
