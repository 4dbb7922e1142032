// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// What takes packets may be anywhere on their way, and in any form: traffic says whose they
// are, and ADD says the same.
func TestTakenOnTheWay(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	n.ServeTCP("tcp4", ":9999", "owner")
	list := n.Network("net", "4", nil)
	for _, tc := range []struct {
		name, rules string
		code        uint
		says        string
	}{
		{"a mark that a filter chain sets", `chain marks { type filter hook prerouting priority -140; tcp dport 8080 meta mark set 0x64; }
			chain nat { type nat hook prerouting priority -90; meta l4proto tcp meta mark 0x64 redirect to :9999; }`, 103, "redirect"},
		{"a mark of the connection, with a mask", `chain marks { type filter hook prerouting priority -140; tcp dport 8000-8090 ct mark set 0x164; }
			chain nat { type nat hook prerouting priority -90; meta l4proto tcp ct mark & 0xff == 0x64 redirect to :9999; }`, 103, "redirect"},
		{"a mark of an option of TCP", `chain marks { type filter hook prerouting priority -140; tcp dport 8080 meta mark set tcp option maxseg size; }
			chain nat { type nat hook prerouting priority -90; meta l4proto tcp meta mark != 0 redirect to :9999; }`, 103, "redirect"},
		{"a part of an address", `chain nat { type nat hook prerouting priority -90; meta nfproto ipv4 @nh,128,16 { 0x0201, 0xc000 } tcp dport 8080 redirect to :9999; }`, 103, "redirect"},
		{"a port that is written into the packet", `chain in { type filter hook prerouting priority 0; tcp dport 8080 tcp dport set 9999; }
			chain out { type filter hook postrouting priority 0; tcp sport 9999 tcp sport set 8080; }`, 103, "rewrite"},
		{"and before conntrack", `chain in { type filter hook prerouting priority -310; tcp dport 8080 tcp dport set 9999; }
			chain out { type filter hook postrouting priority 310; tcp sport 9999 tcp sport set 8080; }`, 103, "rewrite"},
		{"a status that no new connection has", `chain nat { type nat hook prerouting priority -90; ct status != assured tcp dport 8080 redirect to :9999; }`, 103, "redirect"},
		{"a target that is drawn", `chain nat { type nat hook prerouting priority -90; tcp dport 8080 redirect to :numgen random mod 2 map { 0 : 9999, 1 : 9999 }; }`, 103, "redirect"},
		{"a target that is hashed", `chain nat { type nat hook prerouting priority -90; tcp dport 8080 redirect to :jhash ip saddr mod 2 map { 0 : 9999, 1 : 9999 }; }`, 103, "redirect"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n.Feed("table inet t {\n"+strings.ReplaceAll(tc.rules, "; ", ";\n")+"\n}\n", "nft", "-f", "-")
			defer n.Run("nft", "delete", "table", "inet", "t")
			want(t, "before", n.Client.Who("tcp4", lab.NodeV4+":8080"), "owner")
			refused(t, n, list, tc.code, []string{tc.says}, lab.TCP(8080, 80))
			want(t, "after the refusal", n.Client.Who("tcp4", lab.NodeV4+":8080"), "owner")
		})
	}
}

// A mapping that no packet can reach is refused, and nobody gets packets before.
func TestLostOnTheWay(t *testing.T) {
	t.Parallel()
	for _, flavour := range []string{"nft", "legacy"} {
		t.Run(flavour, func(t *testing.T) {
			n := lab.NewNode(t, bin, flavour)
			list := n.Network("net", "4", nil)
			for _, rule := range []string{
				"raw -A PREROUTING -p tcp --dport 8080 -j CT --notrack",
				"raw -A PREROUTING -p tcp -m multiport --dports 80,8080 -j DROP",
				"mangle -A PREROUTING -p tcp --dport 8000:8090 -j DROP",
				"raw -A PREROUTING -s 10.88.0.0/16 -p tcp --sport 80 -j CT --notrack", // of answers
			} {
				n.Iptables("", "-t "+rule)
				refused(t, n, list, 105, []string{"would not work"}, lab.TCP(8080, 80))
				n.Iptables("", "-t "+strings.Replace(rule, "-A ", "-D ", 1))
			}
			for rule, warns := range map[string]bool{
				"raw -A PREROUTING -i eth0 -j DROP":                           true,
				"mangle -A PREROUTING ! -i cni0 -p tcp -j DROP":               true,
				"raw -A PREROUTING -i eth0 -s 203.0.113.0/24 -j DROP":         false,
				"mangle -A PREROUTING -i eth0 -p udp -j DROP":                 false,
				"mangle -A PREROUTING -m conntrack --ctstate INVALID -j DROP": false,
				"raw -A PREROUTING -d 10.88.0.2 ! -i cni0 -j DROP":            false,
			} {
				n.Iptables("", "-t "+rule)
				if out := accepted(t, n, list, lab.TCP(8080, 80)); strings.Contains(out, "does not work for everybody") != warns {
					t.Errorf("%s: ADD says %q", rule, out)
				}
				n.Iptables("", "-t "+strings.Replace(rule, "-A ", "-D ", 1))
			}
		})
	}
}

// What no packet gets by behind the mapping, and no answer on its way back, is as good as a drop
// before it, for either place of the mapping.
func TestLostBehind(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"nftables", "iptables"} {
		n := newNode(t, backend, "nft")
		list, warn := n.Network("net", "46", nil), n.Network("warn", "46", lab.Conf{"conflictPolicy": "warn"})
		n.MustAdd(n.NewPod("other"), list) // so that there is a link
		pod := n.NewPod("web")
		pod.Serve(80, "web")
		const late, raw = "type filter hook prerouting priority 0; ", "type filter hook prerouting priority -300; "
		for rules, dead := range map[string]bool{
			"chain c { " + late + "ct status dnat drop; }":                                                                                                                           true,
			"chain c { " + late + "ip daddr 10.88.0.0/16 drop; ip6 daddr fd00:88::/64 drop; }":                                                                                       true,
			"chain c { " + late + "tcp dport 80 drop; }":                                                                                                                             true,
			"chain c { " + late + "meta l4proto tcp ct original proto-dst 8080 drop; }":                                                                                              true,
			"chain c { " + late + "tcp flags syn drop; }":                                                                                                                            true,
			"chain c { " + late + "ip ttl set 1; ip6 hoplimit set 1; }":                                                                                                              true,
			"chain m { type filter hook prerouting priority -150; tcp dport 8080 meta mark set 7; }; chain c { " + late + "meta mark 7 drop; }":                                      true,
			"chain c { " + raw + "ip saddr 10.88.0.0/16 tcp sport 80 notrack; ip6 saddr fd00:88::/64 tcp sport 80 notrack; }":                                                        true,
			"chain c { " + raw + "iif cni0 notrack; }":                                                                                                                               true,
			"chain c { type filter hook prerouting priority -150; ct direction reply drop; }":                                                                                        true,
			"chain c { " + late + "tcp dport 8080 drop; ip daddr 10.89.0.0/16 drop; iifname cni0 ip daddr 192.0.2.99 drop; }":                                                        false,
			"chain c { " + raw + "ip saddr 10.88.0.0/16 tcp sport 53 notrack; ct status dnat drop; ip daddr 10.88.0.0/16 drop; }":                                                    false,
			"chain m { type filter hook postrouting priority 0; ct mark set 7; }; chain c { type filter hook prerouting priority -150; ct mark 7 accept; ct direction reply drop; }": false,
		} {
			n.Feed("table inet t {\n"+strings.ReplaceAll(rules, "; ", ";\n")+"\n}\n", "nft", "-f", "-")
			if dead {
				refused(t, n, list, 105, []string{"8080/tcp would not work: a rule ends the way of "}, lab.TCP(8080, 80))
			} else {
				accepted(t, n, list, lab.TCP(8080, 80))
			}
			n.MustAdd(pod, warn, lab.TCP(8080, 80))
			for network, addr := range map[string]string{"tcp4": lab.NodeV4, "tcp6": "[" + lab.NodeV6 + "]"} {
				want(t, rules, n.Client.Who(network, addr+":8080"), map[bool]string{false: "web"}[dead])
			}
			if err := n.Del(pod, warn, lab.TCP(8080, 80)); err != nil {
				t.Error(err)
			}
			n.Run("nft", "delete", "table", "inet", "t")
		}
	}
}

// What takes nothing refuses nothing.
func TestTakenByNobody(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	list := n.Network("net", "4", nil)
	pod := n.NewPod("web")
	pod.Serve(80, "web")
	for name, rules := range map[string]string{
		"a dormant table":               "flags dormant; chain nat { type nat hook prerouting priority -110; tcp dport 8080 redirect to :9999; }",
		"what comes by lo":              `chain nat { type nat hook prerouting priority -110; iif "lo" tcp dport 8080 redirect to :9999; }`,
		"the mark of another port":      "chain marks { type filter hook prerouting priority -140; tcp dport 8081 ct mark set 1; }\nchain nat { type nat hook prerouting priority -90; meta l4proto tcp ct mark 1 redirect to :9999; }",
		"a status that comes later":     "chain nat { type nat hook prerouting priority -110; meta l4proto tcp ct status assured redirect to :9999; }",
		"another part of the address":   "chain nat { type nat hook prerouting priority -110; meta nfproto ipv4 @nh,144,16 0x0202 tcp dport 8080 redirect to :9999; }",
		"writing something else":        "chain in { type filter hook prerouting priority -110; ip dscp set 8; }",
		"what others lose on the way":   "chain in { type filter hook prerouting priority -310; tcp dport 8081 notrack; tcp dport 8082 drop; }",
		"a drop behind the translation": "chain in { type filter hook prerouting priority 0; tcp dport 8080 drop; }",
	} {
		t.Run(name, func(t *testing.T) {
			n.Feed("table inet t {\n"+strings.ReplaceAll(rules, "; ", ";\n")+"\n}\n", "nft", "-f", "-")
			defer n.Run("nft", "delete", "table", "inet", "t")
			n.MustAdd(pod, list, lab.TCP(8080, 80))
			want(t, "from outside", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
			if err := n.Del(pod, list, lab.TCP(8080, 80)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Rules of nftables are printed as nft prints them, with the command that removes them.
func TestNativeRulesAreReadable(t *testing.T) {
	t.Parallel()
	n := lab.NewNode(t, bin, "nft")
	list := n.Network("net", "4", nil)
	for rule, says := range map[string]string{
		"tcp dport 8080 dnat ip to 172.17.0.2:80":                `"tcp dport 8080 dnat ip to 172.17.0.2:80"`,
		"ip daddr 192.0.2.1 tcp dport { 80, 8080 } redirect":     `"ip daddr 192.0.2.1 tcp dport { 80, 8080 } redirect"`,
		"meta l4proto tcp ip daddr 192.0.2.1 redirect to :15001": "it takes all ports that come to it of 192.0.2.1",
	} {
		n.Feed("table inet t {\n chain c {\n type nat hook prerouting priority -110;\n "+rule+"\n }\n}\n", "nft", "-f", "-")
		pod := n.NewPod("refused")
		_, err := n.Add(pod, list, lab.TCP(8080, 80))
		removal := regexp.MustCompile(`nft delete rule inet t c handle \d+`).FindString(fmt.Sprint(err))
		if !strings.Contains(fmt.Sprint(err), says) || removal == "" {
			t.Fatalf("%s: ADD says %v", rule, err)
		}
		n.Run("sh", "-ec", removal)
		n.MustAdd(pod, list, lab.TCP(8080, 80))
		if err := n.Del(pod, list, lab.TCP(8080, 80)); err != nil {
			t.Fatal(err)
		}
		n.Run("nft", "delete", "table", "inet", "t")
	}
}
