// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/xt"
)

// Matches and targets that iptables-nft keeps in binary form are decoded to what
// iptables-nft-save prints for them.
func TestXtablesAsPrinted(t *testing.T) {
	n := lab.NewNode(t, "", "nft")
	for family, lines := range map[string][]string{
		"": {
			"-m comment --comment portguard", "-p tcp -m multiport --dports 80,90:100,443", "-p udp -m multiport ! --sports 1:2", "-p tcp -m multiport --ports 8080",
			"-m addrtype --dst-type LOCAL", "-m addrtype ! --src-type UNICAST,BROADCAST --dst-type LOCAL", "-m addrtype --dst-type LOCAL --limit-iface-in",
			"-m conntrack --ctstate NEW,RELATED", "-m conntrack ! --ctstate INVALID,DNAT", "-p tcp -m conntrack --ctorigdstport 80:90", "-m conntrack --ctorigdst 10.0.0.0/8 ! --ctorigsrc 192.0.2.1",
			"-m conntrack --ctproto 17 --ctdir REPLY", "-p tcp -m conntrack ! --ctreplsrcport 5 --ctreplsrc 10.1.2.3",
			"-m iprange --src-range 10.0.0.1-10.0.0.9 ! --dst-range 192.0.2.1-192.0.2.2", "-p sctp -m sctp --dport 80:90", "-p sctp -m sctp ! --sport 5 --dport 7",
			"-p tcp -m state --state NEW", "-m devgroup --src-group 0x7", "-m devgroup ! --src-group 0x7/0xf",
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

// Rules hold the index of an ipset; the kernel tells its name and members.
func TestSetMatch(t *testing.T) {
	n := lab.NewNode(t, "", "nft")
	n.Run("ipset", "create", "first", "hash:net")
	n.Run("ipset", "create", "some ports", "hash:ip,port")
	n.Run("ipset", "add", "some ports", "192.0.2.1,tcp:80")
	for line, want := range map[string]string{
		"-m set --match-set first dst":                     "set --match-set 0 dst",
		"-m set ! --match-set some\\ ports dst,src":        "set ! --match-set 1 dst,src",
		"-m set --match-set first src --return-nomatch":    "set --match-set 0 src set --return-nomatch",
		"-m set --match-set first dst ! --update-counters": "set --match-set 0 dst",
		"-m set --match-set first dst ! --packets-eq 5":    "set --counters set --match-set 0 dst",
		"-m set --match-set first src --bytes-gt 70000":    "set --counters set --match-set 0 src",
	} {
		n.Run("sh", "-c", "iptables-nft -t nat -A PREROUTING "+line+" -j ACCEPT")
		if got := strings.Join(decoded(t, n, false), " "); got != want {
			t.Errorf("%s: decoded %q, want %q", line, got, want)
		}
		n.Run("iptables-nft", "-t", "nat", "-F", "PREROUTING")
	}
	n.Do(func() {
		for index, want := range []string{"first", "some ports", "", ""} {
			if name, err := (host.Sets{}).SetName(uint16(index)); name != want || err != nil {
				t.Errorf("set %d is %q, %v", index, name, err)
			}
		}
		if name, err := (host.Sets{}).SetName(65535); name != "" || err != nil {
			t.Errorf("no set is %q, %v", name, err)
		}
		typ, err := host.Sets{}.SetType("some ports")
		if typ != "hash:ip,port" || err != nil {
			t.Errorf("type %q, %v", typ, err)
		}
		ok, err := host.Sets{}.SetHas("some ports", typ, netip.MustParseAddr("192.0.2.1"), hostport.TCP, 80)
		if !ok || err != nil {
			t.Errorf("it has %v, %v", ok, err)
		}
		if typ, err := (host.Sets{}).SetType("none"); typ != "" || err != nil {
			t.Errorf("type of no set %q, %v", typ, err)
		}
	})
}

// The kernel tells the members of an ipset, if that says all.
func TestSetMembers(t *testing.T) {
	n := lab.NewNode(t, "", "nft")
	n.Feed(`create nets hash:net
add nets 10.0.0.0/8
add nets 10.1.0.0/16 nomatch
create pairs hash:ip,port family inet6
add pairs fd00::1,udp:53
create ips bitmap:ip range 192.0.2.0/24
add ips 192.0.2.7
create list list:set
add list nets
add list ips
create masked hash:ip netmask 24
add masked 192.0.2.0
create none hash:ip
create three hash:ip,port,net
add three 192.0.2.1,tcp:80,10.0.0.0/8
create links hash:net,iface
add links 10.0.0.0/8,eth0
create physical hash:net,iface
add physical 10.0.0.0/8,physdev:eth0
`, "ipset", "restore")
	of := func(p string) addrset.Set { return addrset.Of(netip.MustParsePrefix(p)) }
	n.Do(func() {
		for name, want := range map[string][]hostport.Member{
			"nets":  {{Addrs: of("10.0.0.0/8")}, {Addrs: of("10.1.0.0/16"), Except: true}},
			"pairs": {{Addrs: of("fd00::1/128"), Proto: hostport.UDP, Port: 53}},
			"ips":   {{Addrs: of("192.0.2.7/32")}},
			"list":  {{Set: "nets"}, {Set: "ips"}},
			"none":  nil,
			"three": {{Addrs: of("192.0.2.1/32"), Proto: hostport.TCP, Port: 80, Addrs2: of("10.0.0.0/8")}},
			"links": {{Addrs: of("10.0.0.0/8"), Link: "eth0"}},
		} {
			got, whole, err := host.Sets{}.SetMembers(name)
			slices.SortFunc(got, func(a, b hostport.Member) int { return strings.Compare(a.Addrs.String(), b.Addrs.String()) })
			if name == "nets" { // the shorter text is that of the longer span
				slices.SortFunc(got, func(a, b hostport.Member) int {
					return strings.Compare(strconv.FormatBool(a.Except), strconv.FormatBool(b.Except))
				})
			}
			if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" || !whole || err != nil {
				t.Errorf("%s is whole: %v, %v (-want +got)\n%s", name, whole, err, d)
			}
		}
		for _, name := range []string{"masked", "physical"} {
			if got, whole, err := (host.Sets{}).SetMembers(name); whole || err != nil {
				t.Errorf("%s: %v is whole: %v, %v", name, got, whole, err)
			}
		}
		if _, _, err := (host.Sets{}).SetMembers("gone"); err == nil {
			t.Error("members of no set")
		}
	})
}

// Of a set that is too long nothing but its header is read.
func TestLongSetIsNotRead(t *testing.T) {
	n := lab.NewNode(t, "", "nft")
	script := "create long hash:ip maxelem 100000\n"
	for i := range nft.MaxListed + 1 {
		script += fmt.Sprintf("add long 10.1.%d.%d\n", i/250, i%250)
	}
	n.Feed(script, "ipset", "restore")
	n.Do(func() {
		allocs := testing.AllocsPerRun(1, func() {
			if got, whole, err := (host.Sets{}).SetMembers("long"); got != nil || whole || err != nil {
				t.Errorf("%d members, whole: %v, %v", len(got), whole, err)
			}
		})
		if allocs > 1000 {
			t.Errorf("%.0f allocations", allocs)
		}
	})
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
	if len(o.Values) != 1 {
		return o.Module + " " + o.String()
	}
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
		i := xt.InfoOf(e, ipv6)
		opts, ok := xt.Match(i)
		if !ok {
			t.Errorf("match %s revision %d with %d bytes is not known", i.Name, i.Rev, len(i.Data))
		}
		for _, o := range opts {
			out = append(out, plain(o))
		}
	}
	slices.Sort(out)
	return out
}
