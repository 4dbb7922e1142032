// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"flag"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

// What CHECK finds lost in the rules is in package ruleset.
func TestMessages(t *testing.T) {
	m := golden.New(t)
	m.Section("rules that cannot be read")
	n := newNode(t)
	n.unreadable = unix.EPERM
	_, err := n.backend().Load()
	m.AddError("109", err)
	_, err = NewGuard(iptables.Legacy, n.options()).Load()
	m.AddError("109", err)
	m.Section("tables with native rules, which iptables cannot show, take nobody")
	n = newNode(t)
	b, g := n.backend(), NewGuard(iptables.NFT, n.options())
	for _, table := range []string{"nat", "mangle"} {
		n.native[nft.Table{Family: nft.IPv4, Name: table}] = true
	}
	have := load(t, b)
	m.AddError("111", b.Apply(have, have.With(web(0))))
	m.AddError("111", g.Apply(nil, links()))
	for _, lost := range have.Missing(web(0))[:1] {
		m.Add("110", lost)
	}
	m.Section("a link that rules cannot name")
	m.AddError("111", g.Apply(nil, map[string]localnet.Link{"br+": {}}))
	m.Section("changes that fail, and that cannot be undone")
	failed := errors.New("iptables-nft-restore: exit status 2: iptables-restore: line 7 failed")
	n = newNode(t)
	b, g = n.backend(), NewGuard(iptables.NFT, n.options())
	have = load(t, b)
	n.fails = map[int]error{1: failed, 3: failed, 4: failed}
	m.AddError("111", b.Apply(have, have.With(web(0))))
	m.AddError("111", b.Apply(have, have.With(web(0))))
	n.restores = 0
	m.AddError("111", g.Apply(nil, links()))
	m.Section("what CHECK finds lost of the guard, as the plugin puts it behind whose hostPorts it is")
	for _, d := range damages() {
		n = newNode(t)
		g = NewGuard(iptables.Legacy, n.options())
		if err := g.Apply(nil, links()); err != nil {
			t.Fatal(err)
		}
		d.do(n.kernels[hostport.IPv4]["mangle"])
		got, err := g.Load()
		if err != nil {
			t.Fatal(err)
		}
		for _, lost := range got["cni0"].Broken {
			m.Add("110", lost)
		}
	}
	m.Check(*update)
}
