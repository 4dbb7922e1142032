// SPDX-License-Identifier: Apache-2.0

package xtrule_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/rules"
	"github.com/portguard/portguard/pkg/walk"
)

// script is table nat with rules, one a line, in chain PREROUTING.
func script(rules ...string) string {
	var b strings.Builder
	b.WriteString("*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:X - [0:0]\n")
	for _, r := range rules {
		if !strings.HasPrefix(r, "OUTPUT ") && !strings.HasPrefix(r, "POSTROUTING ") {
			r = "PREROUTING " + r
		}
		b.WriteString("-A " + r + "\n")
	}
	return b.String() + "COMMIT\n"
}

// everyRule has each match and target that the helper writes.
func everyRule(f hostport.Family) []string {
	both := []string{
		"", "-j X", "-g X", "-j RETURN", "-j ACCEPT",
		"-p tcp -j ACCEPT", "! -p udp -j ACCEPT", "-p 47 -j ACCEPT", "-i eth0 -j ACCEPT", "-i eth+ -j ACCEPT", "! -i lo -j ACCEPT", "OUTPUT ! -o eth+ -j ACCEPT", "-i + -j ACCEPT",
		`-m comment --comment "a \"b\""`, "-p tcp -m tcp -j ACCEPT", "-p tcp -m tcp --dport 80 -j ACCEPT", "-p tcp -m tcp ! --sport 1:2 --dport 80: -j ACCEPT",
		"-p tcp -m tcp ! --dport 80:90 -j ACCEPT", "-p tcp -m tcp --syn -j ACCEPT", "-p tcp -m tcp ! --syn -m socket -j RETURN", "-p tcp -m tcp --tcp-flags FIN,PSH,URG URG -m socket --transparent --nowildcard -j ACCEPT", "-p udp -m udp ! --dport 80 -j ACCEPT", "-p udp -m udp --sport 1 --dport 2:3 -j ACCEPT", "-p udp -m udp --sport 1 --dport 2 -j ACCEPT",
		"-p sctp -m sctp --sport 5 ! --dport 7:9 -j ACCEPT", "-p tcp -m multiport --dports 80,90:100,443 -j ACCEPT", "-p udp -m multiport ! --sports 1:2 -j ACCEPT",
		"-p tcp -m multiport --ports 8080 -j ACCEPT", "-m addrtype ! --src-type UNICAST --dst-type LOCAL -j ACCEPT", "-m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT",
		"-m mark --mark 0x1 -j ACCEPT", "-m mark ! --mark 0x1/0xff -j ACCEPT", "-m conntrack --ctstate NEW,RELATED -j ACCEPT", "-m conntrack ! --ctstate INVALID,DNAT -j ACCEPT",
		"-m conntrack --ctproto 17 --ctdir REPLY -j ACCEPT", "-m length --length 0:65535 -j ACCEPT", "-m length ! --length 64 -j ACCEPT", "-p tcp -m conntrack --ctorigdstport 80:90 -j ACCEPT", "-m state --state NEW -j ACCEPT",
		"-m statistic --mode nth --every 2 --packet 0 -j ACCEPT", "-m comment --comment one -m comment --comment two",
		"-p tcp -j MARK --set-xmark 0x1/0x1", "-j MARK --set-mark 0x4000", "-j MARK --or-mark 0x4000", "-m connmark ! --mark 0x1/0xff -j ACCEPT", "-j CONNMARK --set-xmark 0x1/0x3", "-j CONNMARK --set-mark 0x4", "-j CONNMARK --save-mark", "-j CONNMARK --restore-mark --nfmask 0x3 --ctmask 0x1",
		"-p tcp -j REDIRECT --to-ports 9998", "-p tcp -j REDIRECT --to-ports 1-9 --random",
		"-j REDIRECT", "POSTROUTING -j MASQUERADE", "POSTROUTING -j MASQUERADE --random-fully", "POSTROUTING -p tcp -j MASQUERADE --to-ports 5-6",
	}
	if f == hostport.IPv6 {
		return append(both, "-s fd00::/8 -d fd00::1/128 -j ACCEPT", "! -s fd00::/12 ! -d fd00::/64 -j ACCEPT", "-d 2000::/3 -j ACCEPT", "-d fd00::1/ffff::ffff -j ACCEPT",
			"-m conntrack --ctorigdst fd00::/64 ! --ctorigsrc fd00::1 -j ACCEPT", "-m iprange ! --src-range fd00::1-fd00::9 -j ACCEPT", "-m hl --hl-eq 1 -j ACCEPT", "-m hl ! --hl-eq 2 -j ACCEPT", "-m hl --hl-lt 3 -j ACCEPT", "-m hl --hl-gt 0 -j ACCEPT",
			"-p tcp -j DNAT --to-destination [fd00::1]:80", "-j DNAT --to-destination fd00::1", "-p udp -j DNAT --to-destination [fd00::1-fd00::9]:80-90 --random", "-j NETMAP --to fd00:1::/64")
	}
	return append(both, "-s 10.0.0.0/8 -d 10.1.2.3/32 -j ACCEPT", "! -s 10.16.0.0/12 ! -d 10.1.2.0/24 -j ACCEPT", "-d 128.0.0.0/1 -j ACCEPT", "-s 0.0.0.0/0 -j ACCEPT",
		"-s 10.0.0.1/255.0.255.0 -j ACCEPT", "-d 10.0.0.0/255.0.0.0 -j ACCEPT", "-f -j ACCEPT", "! -f -j ACCEPT", "-p icmp -j ACCEPT",
		"-m ttl --ttl-eq 1 -j ACCEPT", "-m ttl ! --ttl-eq 2 -j ACCEPT", "-m ttl --ttl-lt 3 -j ACCEPT", "-m ttl --ttl-gt 0 -j ACCEPT",
		"-m conntrack --ctorigdst 10.0.0.0/8 ! --ctorigsrc 192.0.2.1 --ctrepldst 192.0.2.2 -j ACCEPT", "-m iprange --src-range 10.0.0.1-10.0.0.9 ! --dst-range 192.0.2.1-192.0.2.2 -j ACCEPT",
		"-p tcp -j DNAT --to-destination 10.0.0.1:80", "-j DNAT --to-destination 10.0.0.1", "-p udp -j DNAT --to-destination 10.0.0.1-10.0.0.9:80-90 --random", "-j NETMAP --to 10.1.0.0/16")
}

// What is written is what iptables-nft and iptables-legacy write, so those are read alike.
func TestWrittenAsIptables(t *testing.T) {
	need.Root(t)
	for _, f := range hostport.Families() {
		n := lab.NewNetns(t, "xtrule")
		for name, text := range saved(t, f) {
			want, err := xtrule.Parse(text, f)
			if err != nil {
				t.Fatal(err)
			}
			for flavour, holder := range map[string]string{rules.NFT: conflict.Nftables, rules.Legacy: conflict.Legacy} {
				t.Run(flavour+" "+f.String()+" "+name, func(t *testing.T) {
					n.Feed(text, map[hostport.Family]string{hostport.IPv4: "iptables-", hostport.IPv6: "ip6tables-"}[f]+flavour+"-restore")
					n.Do(func() {
						r := rules.New(rules.Options{Proc: "/proc"})
						compare(t, f, want, source(t, r, holder), func(table string) ([]string, error) { return r.Chains(flavour, f, table) })
					})
				})
			}
		}
	}
}

func source(t *testing.T, r *rules.Reader, holder string) walk.Source {
	t.Helper()
	holders, err := r.Holders()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range holders {
		if h.Holder == holder {
			return h.Source
		}
	}
	t.Fatalf("%s holds nothing", holder)
	return nil
}

// saved are texts to load: every match and target, and kube-proxy's.
func saved(t *testing.T, f hostport.Family) map[string]string {
	t.Helper()
	out := map[string]string{"every match and target": script(everyRule(f)...)}
	files, err := filepath.Glob("../../iptsave/testdata/*" + map[hostport.Family]string{hostport.IPv4: ".iptables-", hostport.IPv6: ".ip6tables-"}[f] + "*save")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// Objects of nfacct are not here, and what they count does not matter.
		out[filepath.Base(file)] = regexp.MustCompile(`-m nfacct \S+ +\S+`).ReplaceAllString(string(b), "")
	}
	return out
}

// compare expects the rules of all tables in got, and no other chains.
func compare(t *testing.T, f hostport.Family, want *xtrule.Tables, got walk.Source, chains func(table string) ([]string, error)) {
	t.Helper()
	some := false
	for _, table := range []string{"raw", "mangle", "nat", "filter"} {
		at := nft.Table{Family: f.NFProto(), Name: table}
		if len(want.Chains(at)) == 0 {
			continue
		}
		some = true
		names, err := chains(table)
		slices.Sort(names)
		if d := cmp.Diff(want.Chains(at), names); d != "" || err != nil {
			t.Errorf("%s: chains (-want +got): %v\n%s", at, err, d)
		}
		for _, chain := range want.Chains(at) {
			same(t, at, chain, want, got)
		}
	}
	if !some {
		t.Error("nothing is compared")
	}
}

func same(t *testing.T, at nft.Table, chain string, want, got walk.Source) {
	t.Helper()
	w, err1 := want.Rules(at, chain)
	g, err2 := got.Rules(at, chain)
	if err1 != nil || err2 != nil {
		t.Errorf("%s %s: %v, %v", at, chain, err1, err2)
	}
	if d := cmp.Diff(texts(w, at), texts(g, at)); d != "" {
		t.Errorf("%s %s (-want +got):\n%s", at, chain, d)
	}
}

func texts(rules []nft.Rule, at nft.Table) []string {
	var out []string
	for _, r := range rules {
		out = append(out, lab.RuleText(r, at.Family == nft.IPv6))
	}
	return out
}
