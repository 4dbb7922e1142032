// SPDX-License-Identifier: Apache-2.0

package xtrule

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// What is written is read again. Package integration compares it with iptables itself.
func TestMatchesAreReadAgain(t *testing.T) {
	for _, rule := range []string{
		`-m comment --comment "a b"`, "-p tcp -m tcp --dport 80", "-p tcp -m tcp ! --sport 1:2 --dport 80:90", "-p udp -m udp ! --dport 80", "-p sctp -m sctp --sport 5 ! --dport 7:9",
		"-p tcp -m multiport --dports 80,90:100,443", "-p udp -m multiport ! --sports 1:2", "-p tcp -m multiport --ports 8080",
		"-m addrtype ! --src-type UNICAST,BROADCAST --dst-type LOCAL", "-m addrtype --dst-type LOCAL --limit-iface-in", "-m mark ! --mark 0x1/0xff",
		"-m conntrack ! --ctstate INVALID,DNAT", "-m conntrack --ctorigsrc 192.0.2.1/32 ! --ctorigdst 10.0.0.0/8", "-m conntrack --ctproto 17 --ctdir REPLY",
		"-m conntrack --ctorigdstport 80:90", "-m iprange --src-range 10.0.0.1-10.0.0.9 ! --dst-range 192.0.2.1-192.0.2.2",
		"-m comment --comment one -m comment --comment two",
	} {
		tables, err := Parse("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT "+rule+" -j ACCEPT\nCOMMIT\n", hostport.IPv4)
		if err != nil {
			t.Fatal(err)
		}
		rules, err := tables.Rules(nft.Table{Family: nft.IPv4, Name: "nat"}, "OUTPUT")
		if err != nil || len(rules) != 1 {
			t.Fatal(rules, err)
		}
		var got []string
		for _, e := range rules[0].Exprs {
			if e.Name != "match" {
				continue
			}
			opts, ok := xt.Match(xt.InfoOf(e, false))
			if !ok {
				t.Errorf("%s: %s is not read", rule, e.Attrs.Text(1))
			}
			for _, o := range opts {
				got = append(got, o.String())
			}
		}
		var want []string
		for _, o := range (iptsave.Rule{Text: rule}).Spec().Matches {
			if o.Module != "" && o.Name != "-m" {
				want = append(want, o.String())
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", rule, d)
		}
	}
}

func TestRule(t *testing.T) {
	tables, err := Parse(`*nat
:PREROUTING ACCEPT [0:0]
:X - [0:0]
-A PREROUTING -s 10.0.0.0/8 -d 192.0.2.1/32 -i eth+ -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80
-A PREROUTING ! -d 10.16.0.0/12 ! -o lo -m frob --level 3 -g X
-A PREROUTING -j X
-A PREROUTING -m comment --comment none
COMMIT
`, hostport.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := tables.Rules(nft.Table{Family: nft.IPv4, Name: "nat"}, "PREROUTING")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rules {
		var names []string
		for _, e := range r.Exprs {
			names = append(names, e.Name)
		}
		got = append(got, strings.Join(names, " ")+" -> "+r.Target())
	}
	want := []string{
		"meta cmp meta cmp payload cmp payload cmp match counter target -> ",
		"meta cmp payload bitwise cmp match counter immediate -> X",
		"counter immediate -> X",
		"match counter -> ",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if to := xt.Destination(xt.InfoOf(rules[0].Exprs[10], false)); to != "10.0.0.1:80" {
		t.Errorf("the DNAT leads to %q", to)
	}
	if _, err := tables.Rules(nft.Table{Family: nft.IPv4, Name: "nat"}, "Y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a chain that is not there: %v", err)
	}
	if got := tables.BaseChains(); len(got) != 1 || got[0].Priority != -100 || got[0].Type != "nat" {
		t.Errorf("base chains %+v", got)
	}
}

// Real dumps of kube-proxy are written whole: each match and target is known, but for the
// counters of dropped packets and chance.
func TestKubeProxy(t *testing.T) {
	files, err := filepath.Glob("../../iptsave/testdata/*save")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f := hostport.IPv4
		if strings.Contains(file, "ip6tables") {
			f = hostport.IPv6
		}
		tables, err := Parse(string(b), f)
		if err != nil {
			t.Fatal(err)
		}
		for table, chains := range tables.chains {
			for chain, rules := range chains {
				for _, r := range rules {
					unread(t, file+" "+table.Name+" "+chain, r, f == hostport.IPv6)
				}
			}
		}
	}
}

// unread complains of matches that package xt does not read.
func unread(t *testing.T, where string, r nft.Rule, ipv6 bool) {
	t.Helper()
	for _, e := range r.Exprs {
		if e.Name != "match" {
			continue
		}
		i := xt.InfoOf(e, ipv6)
		if _, ok := xt.Match(i); !ok && !slices.Contains([]string{"statistic", "nfacct", "recent"}, i.Name) {
			t.Errorf("%s: match %s %q", where, i.Name, i.Data)
		}
	}
}
