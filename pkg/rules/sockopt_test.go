// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"flag"
	"os"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/need"
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

// The tables that the decoder is tested with are the kernel's. They are those of a
// machine with little endian.
func TestTablesOfDecoder(t *testing.T) {
	if !*tables {
		t.Skip("-tables rewrites them")
	}
	n := netns(t)
	for f, tool := range map[hostport.Family]string{hostport.IPv4: "iptables", hostport.IPv6: "ip6tables"} {
		dir := "../legacy/testdata/"
		text, err := os.ReadFile(dir + tool + ".save")
		if err != nil {
			t.Fatal(err)
		}
		n.Feed(string(text), tool+"-legacy-restore")
		n.Do(func() {
			info, entries, err := askLegacy(nft.Table{Family: f.NFProto(), Name: "nat"})
			if err == nil {
				err = os.WriteFile(dir+tool+".table", append(info, entries...), 0o644)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}
