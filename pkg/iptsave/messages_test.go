// SPDX-License-Identifier: Apache-2.0

package iptsave

import (
	"flag"
	"testing"

	"github.com/portguard/portguard/pkg/internal/golden"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

// The callers say before each which rules they could not read.
func TestMessages(t *testing.T) {
	m := golden.New(t)
	m.Section("what the iptables tools print and nobody can read")
	for _, text := range []string{
		"-A X -j ACCEPT", "*nat\n:X", "*nat\n-A X -j ACCEPT", "*nat\n:X - [0:0]\n-A X -m comment --comment \"abc", "*nat\nhello", "*nat",
	} {
		_, err := Parse(text)
		m.AddError("109", err)
	}
	m.Section("tables that iptables cannot show")
	d, err := Parse("# Table `nat' is incompatible, use 'nft' tool.\n")
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Table("nat")
	m.AddError("109", err)
	m.Check(*update)
}
