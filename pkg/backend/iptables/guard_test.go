// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
)

// links are two.
func links() map[string]localnet.Link {
	return map[string]localnet.Link{"cni0": {}, "veth3": {}}
}

// TestGuard brings the guard from nothing to something and back.
func TestGuard(t *testing.T) {
	n := newNode(t)
	g, before := NewGuard(iptables.Legacy, n.options()), n.save()
	get := func() map[string]localnet.Link {
		t.Helper()
		got, err := g.Load()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := get(); len(got) > 0 || n.saves > 0 {
		t.Fatalf("at first %v, %d tools ran", got, n.saves)
	}
	fewer := links()
	delete(fewer, "veth3")
	for _, want := range []map[string]localnet.Link{links(), links(), fewer} {
		if err := g.Apply(get(), want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, get(), opts()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		for _, hook := range hooks() {
			if head := n.kernels[hostport.IPv4]["mangle"][hook]; len(head) != 2 || !strings.Contains(head[0], "! -i lo") {
				t.Errorf("%s is %q", hook, head)
			}
		}
	}
	if err := g.Apply(get(), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.save()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A damage is something that somebody did to the guard, and what is said of it.
type damage struct {
	says string
	do   func(mangle map[string][]string)
}

func damages() []damage {
	return []damage{
		{"iptables-legacy: IPv4 table mangle: the jump from PREROUTING to PORTGUARD-GUARD is missing", func(m map[string][]string) { m["PREROUTING"] = m["PREROUTING"][1:] }},
		{"stands behind a rule that ends the walk", func(m map[string][]string) { m["PREROUTING"] = append([]string{"-j ACCEPT"}, m["PREROUTING"]...) }},
		{"iptables-legacy: IPv4 table mangle: the jump from INPUT to PORTGUARD-GUARD is missing", func(m map[string][]string) { m["INPUT"] = m["INPUT"][:1] }},
		{`lacks the rule "-i cni0`, func(m map[string][]string) { m[ruleset.Guard][1] = "-s 10.0.0.0/8 " + m[ruleset.Guard][1] }},
		{"in another order", func(m map[string][]string) { m[ruleset.Guard] = append([]string{"-j RETURN"}, m[ruleset.Guard]...) }},
	}
}

// What is broken is told, and mended by Apply.
func TestGuardIsMended(t *testing.T) {
	for _, d := range damages() {
		n := newNode(t)
		g := NewGuard(iptables.Legacy, n.options())
		if err := g.Apply(nil, links()); err != nil {
			t.Fatal(err)
		}
		d.do(n.kernels[hostport.IPv4]["mangle"])
		got, err := g.Load()
		if err != nil || len(got["cni0"].Broken) == 0 || !strings.Contains(got["cni0"].Broken[0], d.says) {
			t.Errorf("%s: %+v, %v", d.says, got["cni0"], err)
		}
		if err := g.Apply(got, links()); err != nil {
			t.Fatal(err)
		}
		if got, _ := g.Load(); len(got["cni0"].Broken)+len(got["veth3"].Broken) > 0 || len(got) != 2 {
			t.Errorf("%s: mended it is %+v", d.says, got)
		}
	}
}

// Where iptables cannot show the table, the guard can go, but nobody comes.
func TestGuardBesideNativeRules(t *testing.T) {
	n := newNode(t)
	g := NewGuard(iptables.NFT, n.options())
	if err := g.Apply(nil, links()); err != nil {
		t.Fatal(err)
	}
	n.native[nft.Table{Family: nft.IPv4, Name: "mangle"}] = true
	more, fewer := links(), links()
	more["veth9"] = more["veth3"]
	delete(fewer, "veth3")
	if err := g.Apply(nil, more); err == nil || len(n.batches) > 0 {
		t.Errorf("more: error %v", err)
	}
	if err := g.Apply(nil, fewer); err != nil || len(n.batches) != 1 || n.batches[0].Len() != 1 {
		t.Errorf("fewer: error %v, %d batches", err, len(n.batches))
	}
	n.batches = nil
	if err := g.Apply(nil, nil); err != nil || len(n.batches) != 1 {
		t.Errorf("error %v, %d batches", err, len(n.batches))
	}
	delete(n.kernels[hostport.IPv4]["mangle"], ruleset.Guard)
	if err := g.Apply(nil, nil); err != nil || len(n.batches) != 1 {
		t.Errorf("nothing is there: error %v, %d batches", err, len(n.batches))
	}
}
