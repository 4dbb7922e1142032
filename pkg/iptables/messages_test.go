// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"flag"
	"testing"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

// What cannot be read in what the tools print is in package iptsave.
func TestMessages(t *testing.T) {
	m := golden.New(t)
	b, tools := newBench(t)
	t.Setenv("PATH", b.dir)
	tools.Wait = time.Second
	m.Section("tools that are not installed")
	_, err := tools.Default()
	m.AddError("109", err)
	m.AddError("109", tools.Test(NFT, hostport.IPv6, ""))
	m.Section("tools that fail")
	for _, script := range []string{
		"exit 1", "echo 'iptables-legacy-save: Permission denied (you must be root)' >&2; exit 1",
		"echo 'Another app is currently holding the xtables lock' >&2; exit 4", "kill -9 $$", "echo '# nothing'", "echo '*nat'",
		`echo "# Table \` + "`" + `nat' is incompatible, use 'nft' tool."`,
	} {
		b.tool("iptables-legacy-save", script)
		_, err := tools.Save(Legacy, hostport.IPv4, "nat")
		m.AddError("109", err)
	}
	m.Check(*update)
}
