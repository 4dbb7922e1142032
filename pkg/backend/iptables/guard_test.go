// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
)

// links are two that three pods use.
func links() map[string]localnet.Link {
	user := func(n int) localnet.User {
		return localnet.User{Tag: web(n).Owner.Tag()}
	}
	return map[string]localnet.Link{
		"cni0":  {Was: true, Users: []localnet.User{user(1), user(2)}},
		"veth3": {Users: []localnet.User{user(3)}},
	}
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
	fewer["cni0"] = localnet.Link{Was: true, Users: fewer["cni0"].Users[1:]}
	for _, want := range []map[string]localnet.Link{links(), links(), fewer} {
		if err := g.Apply(get(), want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, get(), opts()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if head := n.kernels[hostport.IPv4]["mangle"]["PREROUTING"]; len(head) != 2 || !strings.Contains(head[0], "! -i lo") {
			t.Errorf("PREROUTING is %q", head)
		}
	}
	if err := g.Apply(get(), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.save()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Users of guarded links are added to what is there, and only added; all else is made anew.
func TestGuardIsAddedTo(t *testing.T) {
	user := func(l localnet.Link, more ...localnet.User) localnet.Link {
		l.Users = slices.Concat(l.Users, more)
		return l
	}
	one := localnet.User{Tag: web(1).Owner.Tag()}
	base := map[string]localnet.Link{"cni0": {Users: []localnet.User{{Tag: web(2).Owner.Tag()}}}}
	for _, tt := range []struct {
		name  string
		do    func(mangle map[string][]string)
		want  map[string]localnet.Link
		added bool
	}{
		{"a user", nil, map[string]localnet.Link{"cni0": user(base["cni0"], one)}, true},
		{"a link", nil, map[string]localnet.Link{"cni0": base["cni0"], "veth3": {Users: []localnet.User{one}}}, false},
		{"one for another", nil, map[string]localnet.Link{"cni0": {Users: []localnet.User{one}}}, false},
		{"what the sysctl was", nil, map[string]localnet.Link{"cni0": {Was: true, Users: []localnet.User{one, base["cni0"].Users[0]}}}, false},
		{"a user beside a stranger's rule", func(m map[string][]string) { m[ruleset.Guard] = append(m[ruleset.Guard], "-j RETURN") }, map[string]localnet.Link{"cni0": user(base["cni0"], one)}, false},
		{"a user behind a jump too many", func(m map[string][]string) { m["PREROUTING"] = append(m["PREROUTING"], m["PREROUTING"][0]) }, map[string]localnet.Link{"cni0": user(base["cni0"], one)}, false},
	} {
		n := newNode(t)
		g := NewGuard(iptables.NFT, n.options())
		if err := g.Apply(nil, base); err != nil {
			t.Fatal(err)
		}
		mangle := n.kernels[hostport.IPv4]["mangle"]
		if tt.do != nil {
			tt.do(mangle)
		}
		p, err := g.look()
		if err != nil {
			t.Fatal(err)
		}
		if script := p.script(tt.want); strings.Contains(script, ":"+ruleset.Guard) == tt.added {
			t.Errorf("%s: %s", tt.name, script)
		}
		if err := g.Apply(nil, tt.want); err != nil {
			t.Fatal(err)
		}
		got, err := g.Load()
		if diff := cmp.Diff(tt.want, got, opts(), cmpopts.SortSlices(func(a, b localnet.User) bool { return a.Tag < b.Tag })); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", tt.name, err, diff)
		}
		if again, _ := g.look(); again.script(tt.want) != "" {
			t.Errorf("%s: again %s", tt.name, again.script(tt.want))
		}
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
		{`lacks the rule "-i cni0`, func(m map[string][]string) { m[ruleset.Guard] = m[ruleset.Guard][1:] }},
		{"in another order", func(m map[string][]string) { slices.Reverse(m[ruleset.Guard]) }},
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
		if got, _ := g.Load(); len(got["cni0"].Broken)+len(got["veth3"].Broken) > 0 || len(got["cni0"].Users) != 2 {
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
	if err := g.Apply(nil, fewer); err != nil || len(n.batches) != 1 || n.batches[0].Len() != 2 {
		t.Errorf("fewer: error %v, %d batches", err, len(n.batches))
	}
	n.batches = nil
	if err := g.Apply(nil, nil); err != nil || len(n.batches) != 1 {
		t.Errorf("error %v, %d batches", err, len(n.batches))
	}
}
