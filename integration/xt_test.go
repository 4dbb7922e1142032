// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/xt"
)

// Matches and targets that iptables-nft keeps in binary form are decoded to what
// iptables-nft-save prints for them.
func TestXtablesAsPrinted(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	for family, lines := range map[string][]string{
		"": {
			"-m comment --comment portguard", "-p tcp -m multiport --dports 80,90:100,443", "-p udp -m multiport ! --sports 1:2", "-p tcp -m multiport --ports 8080",
			"-m addrtype --dst-type LOCAL", "-m addrtype ! --src-type UNICAST,BROADCAST --dst-type LOCAL", "-m addrtype --dst-type LOCAL --limit-iface-in",
			"-m conntrack --ctstate NEW,RELATED", "-m conntrack ! --ctstate INVALID,DNAT", "-p tcp -m conntrack --ctorigdstport 80:90", "-m conntrack --ctorigdst 10.0.0.0/8 ! --ctorigsrc 192.0.2.1",
			"-m conntrack --ctproto 17 --ctdir REPLY", "-p tcp -m conntrack ! --ctreplsrcport 5 --ctreplsrc 10.1.2.3",
			"-m iprange --src-range 10.0.0.1-10.0.0.9 ! --dst-range 192.0.2.1-192.0.2.2", "-p sctp -m sctp --dport 80:90", "-p sctp -m sctp ! --sport 5 --dport 7",
			"-p tcp -m state --state NEW",
		},
		"6": {
			"-m conntrack --ctorigdst fd00::/64 --ctorigsrc fd00::1", "-m iprange ! --src-range fd00::1-fd00::9", "-p tcp -m multiport --dports 80", "-m addrtype --dst-type LOCAL,UNICAST",
		},
	} {
		for _, line := range lines {
			t.Run(line, func(t *testing.T) {
				n.Iptables(family, "-t nat -A PREROUTING "+line+" -j ACCEPT")
				defer n.Iptables(family, "-t nat -F PREROUTING")
				printed := strings.TrimSpace(n.Run("sh", "-c", "ip"+family+"tables-nft -t nat -S PREROUTING | grep -- -A"))
				wanted := options(t, iptsave.Rule{Text: strings.TrimPrefix(printed, "-A PREROUTING ")})
				got := decoded(t, n, family == "6")
				if !slices.Equal(got, wanted) {
					t.Errorf("decoded %q, iptables prints %q", got, wanted)
				}
			})
		}
	}
}

// options are those of a rule's modules, in order.
func options(t *testing.T, r iptsave.Rule) []string {
	t.Helper()
	var out []string
	for _, o := range r.Spec().Matches {
		if o.Module != "" && o.Name != "-m" {
			if o.Name == "--state" {
				o.Name, o.Module = "--ctstate", "conntrack"
			}
			out = append(out, plain(o))
		}
	}
	slices.Sort(out)
	return out
}

// plain writes an option: iptables has its own order of states, and leaves out
// the length of a whole address.
func plain(o iptsave.Option) string {
	words := strings.Split(strings.TrimSuffix(strings.TrimSuffix(o.Value(), "/32"), "/128"), ",")
	if o.Name == "--ctstate" {
		slices.Sort(words)
	}
	o.Values = []string{strings.Join(words, ",")}
	return o.Module + " " + o.String()
}

// decoded are the options of the first rule of PREROUTING as the kernel has it.
func decoded(t *testing.T, n *lab.Node, ipv6 bool) []string {
	t.Helper()
	table := nft.Table{Family: nft.IPv4, Name: "nat"}
	if ipv6 {
		table.Family = nft.IPv6
	}
	var rules []nft.Rule
	var err error
	n.Do(func() { rules, err = nftconn.NewReader().Rules(table, "PREROUTING") })
	if err != nil || len(rules) != 1 {
		t.Fatalf("%d rules, %v", len(rules), err)
	}
	var out []string
	for _, e := range rules[0].Exprs {
		if e.Name != "match" {
			continue
		}
		rev, _ := e.Attrs.Num(2)
		data, _ := e.Attrs.Get(3)
		opts, ok := xt.Match(xt.Info{Name: e.Attrs.Text(1), Rev: rev, Data: data, IPv6: ipv6})
		if !ok {
			t.Errorf("match %s revision %d with %d bytes is not known", e.Attrs.Text(1), rev, len(data))
		}
		for _, o := range opts {
			out = append(out, plain(o))
		}
	}
	slices.Sort(out)
	return out
}
