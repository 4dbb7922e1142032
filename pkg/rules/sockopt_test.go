// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/legacy"
	"github.com/portguard/portguard/pkg/nft"
)

var (
	update = flag.Bool("update", false, "rewrite testdata/messages.golden")
	tables = flag.Bool("tables", false, "rewrite ../legacy/testdata/*.table")
)

// netns makes a network namespace.
func netns(t *testing.T) *lab.Netns {
	t.Helper()
	need.Root(t)
	return lab.NewNetns(t, "rules")
}

// The tables that the decoder is tested with are what the kernel hands out: this one's say
// the same. With -tables they are written anew, on a machine with little endian.
func TestTablesOfDecoder(t *testing.T) {
	n := netns(t)
	for f, tool := range map[hostport.Family]string{hostport.IPv4: "iptables", hostport.IPv6: "ip6tables"} {
		file := "../legacy/testdata/" + tool
		text, err := os.ReadFile(file + ".save")
		if err != nil {
			t.Fatal(err)
		}
		n.Feed(string(text), tool+"-legacy-restore")
		var info, entries []byte
		n.Do(func() { info, entries, err = askLegacy(nft.Table{Family: f.NFProto(), Name: "nat"}) })
		if err == nil && *tables {
			err = os.WriteFile(file+".table", append(info, entries...), 0o644)
		}
		kept, err2 := os.ReadFile(file + ".table")
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		have, want := inWords(t, f, info, entries), inWords(t, f, kept[:legacy.InfoSize], kept[legacy.InfoSize:])
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-kept +this kernel's)\n%s", tool, diff)
		}
	}
}

// inWords are the rules of a table, each after its chain.
func inWords(t *testing.T, f hostport.Family, info, entries []byte) (out []string) {
	t.Helper()
	table, err := legacy.Decode(nft.Table{Family: f.NFProto(), Name: "nat"}, info, entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, chain := range table.Chains() {
		list, err := table.Rules(chain)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			out = append(out, chain+": "+lab.RuleText(r, f == hostport.IPv6))
		}
	}
	return out
}
