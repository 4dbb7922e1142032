// SPDX-License-Identifier: Apache-2.0

package way

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/walk"
)

// The node of the tests: eth0 to the outside, a pod on cni0, whose hostPort 8080 is in
// nftables.
var (
	eth0   = walk.Link{Name: "eth0", Index: 2}
	cni0   = walk.Link{Name: "cni0", Index: 3}
	node   = netip.MustParseAddr("192.0.2.1")
	client = netip.MustParseAddr("203.0.113.9")
	pod    = netip.MustParseAddr("10.88.0.2")
)

// routes are the legs by "SOURCE DESTINATION LINK MARK"; any other leads to the link that the
// destination is on.
type routes map[string]Leg

func (r routes) Route(q Route) (Leg, error) {
	src, mark := "-", ""
	if q.Src.IsValid() {
		src = q.Src.String()
	}
	if q.Mark != 0 {
		mark = " marked"
	}
	if l, ok := r[strings.Join([]string{src, q.Dst.String(), q.In}, " ")+mark]; ok {
		return l, nil
	}
	return Leg{Out: map[netip.Addr]walk.Link{pod: cni0, client: eth0}[q.Dst]}, nil
}

func claimed() conflict.Finding {
	return conflict.Finding{Kind: finding.Claimed, Who: "pod default/web", Mapping: hostport.Mapping{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: 8080},
		Target: netip.AddrPortFrom(pod, 80), Dst: addrset.All(true),
		At: []conflict.Point{{Hook: walk.Prerouting, Stage: conflict.Translation, Priority: -95}, {Hook: walk.Output, Stage: conflict.Translation, Priority: -95}}}
}

func listener() conflict.Finding {
	f := claimed()
	f.Kind, f.Target = finding.Listener, netip.AddrPort{}
	f.At = []conflict.Point{{Hook: walk.Prerouting, Stage: conflict.Socket}, {Hook: walk.Output, Stage: conflict.Socket}}
	return f
}

// table is a table of iptables with one policy, other chains and rules.
func table(name, policy string, rules ...string) string {
	text := "*" + name + "\n"
	chains := map[string][]string{"filter": {"INPUT", "FORWARD", "OUTPUT"}, "raw": {"PREROUTING", "OUTPUT"}}[name]
	if chains == nil {
		chains = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
	}
	for _, c := range chains {
		text += ":" + c + " " + policy + " [0:0]\n"
	}
	for _, r := range rules {
		if name, user := strings.CutPrefix(r, ":"); user {
			text += ":" + name + " - [0:0]\n"
		}
	}
	for _, r := range rules {
		if !strings.HasPrefix(r, ":") {
			text += "-A " + r + "\n"
		}
	}
	return text + "COMMIT\n"
}

func model(t *testing.T, rules string, r routes) *Model {
	t.Helper()
	src, err := xtrule.Parse(rules, hostport.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	return &Model{Router: r, Finder: conflict.NewFinder(conflict.Snapshot{
		Local:    []hostport.Local{{Prefix: netip.PrefixFrom(node, 32)}, {Prefix: netip.MustParsePrefix("127.0.0.0/8")}},
		Rulesets: []conflict.Ruleset{{Holder: conflict.Nftables, Chains: src.BaseChains(), Onward: src.OnwardChains(), Source: src, Drops: src.Drops}},
	})}
}

// closes says what closes the way of packets of a side, "" if it is open.
func closes(t *testing.T, m *Model, side Side, f conflict.Finding) *Closure {
	t.Helper()
	from := map[Side]Source{Outside: {Link: eth0, Addr: client}, Self: {Side: Self}, Pod: {Side: Pod, Link: cni0, Addr: netip.MustParseAddr("10.88.0.3")}}[side]
	q := Query{Proto: hostport.TCP, To: netip.AddrPortFrom(netip.Addr{}, 8080)}
	ways, err := m.Ways(q, []netip.Addr{node}, []Source{from}, Claims{from.Link: {f}})
	if err != nil || len(ways) != 1 || ways[0].Taker == nil {
		t.Fatalf("%v, %+v", err, ways)
	}
	return ways[0].Closed
}

func TestFilters(t *testing.T) {
	est, dnat := "FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "FORWARD -m conntrack --ctstate DNAT -j ACCEPT"
	for _, tt := range []struct {
		name  string
		rules string
		// What is lost of packets from outside, from the node and from a pod.
		lost [3]bool
		says string
	}{
		{"no rules", "", [3]bool{}, ""},
		{"a policy", table("filter", "DROP"), [3]bool{true, true, true}, "policy of iptables-nft IPv4 filter FORWARD"},
		{"one accept of another link", table("filter", "DROP", "FORWARD -i docker0 -j ACCEPT", "OUTPUT -j ACCEPT", "INPUT -j ACCEPT"), [3]bool{true, false, true}, "policy"},
		{"one accept of other sources", table("filter", "DROP", "FORWARD -s 10.8.0.0/24 -j ACCEPT", "OUTPUT -j ACCEPT", "INPUT -j ACCEPT"), [3]bool{true, false, true}, "policy"},
		{"one accept of another mark", table("filter", "DROP", "FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT", "OUTPUT -j ACCEPT", "INPUT -j ACCEPT"), [3]bool{true, false, true}, "policy"},
		{"only the answers are accepted", table("filter", "DROP", est, "OUTPUT -j ACCEPT", "INPUT -j ACCEPT"), [3]bool{true, false, true}, "policy"},
		{"only the first packets are", table("filter", "DROP", "FORWARD -m conntrack --ctstate NEW -j ACCEPT", "OUTPUT -j ACCEPT", "INPUT -j ACCEPT"), [3]bool{true, false, true}, "the answer is lost"},
		{"both are", table("filter", "DROP", "FORWARD -m conntrack --ctorigdstport 8080 -j ACCEPT", "OUTPUT -j ACCEPT", "INPUT -j ACCEPT"), [3]bool{}, ""},
		{"what was translated is", table("filter", "DROP", dnat, "OUTPUT -j ACCEPT", "INPUT -j ACCEPT"), [3]bool{}, ""},
		{"a mark that is set before", table("mangle", "ACCEPT", "PREROUTING -i eth0 -p tcp -m tcp --dport 8080 -j MARK --set-xmark 0x1/0xffffffff") +
			table("filter", "DROP", "FORWARD -m mark --mark 0x1 -j ACCEPT", est, "OUTPUT -j ACCEPT", "INPUT -j ACCEPT"), [3]bool{false, false, true}, ""},
		{"a rule for the pod", table("filter", "ACCEPT", "FORWARD -d 10.88.0.2/32 -p tcp -m tcp --dport 80 -j REJECT"), [3]bool{true, false, true}, "dropped by"},
		{"one for its hostPort", table("filter", "ACCEPT", "FORWARD -p tcp -m tcp --dport 8080 -j DROP"), [3]bool{}, ""},
		{"one at random", table("filter", "ACCEPT", "FORWARD -m statistic --mode random --probability 0.5 -j DROP"), [3]bool{}, ""},
		{"one before the translation", table("mangle", "ACCEPT", "PREROUTING -i eth0 -p tcp -m tcp --dport 8080 -j DROP"), [3]bool{true, false, false}, "dropped by"},
		{"one behind it", table("mangle", "ACCEPT", "POSTROUTING -o cni0 -j DROP"), [3]bool{true, true, true}, "dropped by"},
		{"no connection", table("raw", "ACCEPT", "PREROUTING -i eth0 -p tcp -m tcp --dport 8080 -j NOTRACK"), [3]bool{true, false, false}, "connection tracking"},
		{"none of the answers", table("raw", "ACCEPT", "PREROUTING -i cni0 -p tcp -m tcp --sport 80 -j NOTRACK"), [3]bool{true, true, true}, "the answer is lost: taken out of connection tracking"},
		{"INPUT is on the way of answers to the node", table("filter", "ACCEPT", "INPUT -j DROP"), [3]bool{false, true, false}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := model(t, tt.rules, nil)
			for _, side := range []Side{Outside, Self, Pod} {
				c := closes(t, m, side, claimed())
				if (c != nil) != tt.lost[side] || side == Outside && c != nil && (!strings.Contains(c.String(), tt.says) || c.Remedy == "") {
					t.Errorf("side %d: %+v", side, c)
				}
			}
		})
	}
}

// What a socket has is not forwarded, and passes INPUT. What the node sends to itself goes out
// by lo and comes in there.
func TestSockets(t *testing.T) {
	for rules, lost := range map[string][2]bool{
		table("filter", "ACCEPT", "INPUT ! -i lo -p tcp -m tcp --dport 8080 -j DROP"): {true, false},
		table("filter", "ACCEPT", "INPUT -i lo -j DROP"):                              {false, true},
		table("filter", "ACCEPT", "FORWARD -j DROP"):                                  {false, false},
		table("filter", "ACCEPT", "OUTPUT -o lo -j REJECT"):                           {false, true},
		table("mangle", "ACCEPT", "POSTROUTING -o lo -j DROP"):                        {false, true},
		table("mangle", "ACCEPT", "POSTROUTING -o eth0 -j DROP"):                      {false, false},
		table("raw", "ACCEPT", "PREROUTING -i lo -j DROP"):                            {false, true},
		table("raw", "ACCEPT", "PREROUTING -i eth0 -j DROP"):                          {true, false},
	} {
		m := model(t, rules, nil)
		for _, side := range []Side{Outside, Self} {
			if c := closes(t, m, side, listener()); (c != nil) != lost[side] {
				t.Errorf("%s: side %d: %+v", rules, side, c)
			}
		}
	}
}

func TestRoutes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		routes routes
		check  string
		back   bool
		says   string
	}{
		{"the link does not forward", routes{"203.0.113.9 10.88.0.2 eth0": {Fault: LinkUnforwarded}}, CheckForward, false, "net.ipv4.conf.eth0.forwarding"},
		{"the node does not", routes{"203.0.113.9 10.88.0.2 eth0": {Fault: Unforwarded}}, CheckForward, false, "net.ipv4.ip_forward"},
		{"the pod's link does not", routes{"10.88.0.2 203.0.113.9 cni0": {Fault: LinkUnforwarded}}, CheckForward, true, "net.ipv4.conf.cni0.forwarding"},
		{"rp_filter is strict", routes{"203.0.113.9 10.88.0.2 eth0": {Fault: ReversePath}}, CheckReverse, false, "rp_filter of eth0"},
		{"rp_filter finds no way back", routes{"203.0.113.9 10.88.0.2 eth0": {Fault: NoWayBack}}, CheckRoute, true, "there is no route to 203.0.113.9"},
		{"the pod's link is gone", routes{"203.0.113.9 10.88.0.2 eth0": {Out: eth0, Gateway: true}}, CheckRoute, false, "what comes from 203.0.113.9 for 10.88.0.2 is routed out by eth0 again"},
		{"nobody knows the way back", routes{"10.88.0.2 203.0.113.9 cni0": {Fault: NoRoute}}, CheckRoute, true, "no route to 203.0.113.9"},
	} {
		c := closes(t, model(t, "", tt.routes), Outside, claimed())
		if c == nil || c.Check != tt.check || c.Back != tt.back || !strings.Contains(c.What, tt.says) || c.Remedy == "" {
			t.Errorf("%s: %+v", tt.name, c)
		}
	}
}

// The node's own answers go by the source, and the pod's do not, unless a mark tells.
func TestDetour(t *testing.T) {
	eth1 := walk.Link{Name: "eth1", Index: 4}
	r := routes{"192.0.2.1 203.0.113.9 ": {Out: eth0}, "10.88.0.2 203.0.113.9 cni0": {Out: eth1}, "10.88.0.2 203.0.113.9 cni0 marked": {Out: eth0}}
	marks := table("mangle", "ACCEPT", "PREROUTING -i cni0 -m conntrack --ctstate ESTABLISHED -j MARK --set-xmark 0x77/0xffffffff")
	for rules, want := range map[string]string{"": "eth1", marks: ""} {
		ways, err := model(t, rules, r).Ways(Query{hostport.TCP, netip.AddrPortFrom(node, 8080)}, []netip.Addr{node}, []Source{{Link: eth0, Addr: client}}, Claims{eth0: {claimed()}})
		if err != nil || ways[0].Closed != nil || ways[0].Detour != want {
			t.Errorf("%v, %+v, want %q", err, ways, want)
		}
	}
}

// Each tool has its own remedy, and the tool is told by its chains.
func TestRemedies(t *testing.T) {
	for rule, want := range map[string]string{
		"":                                 "iptables-nft -I FORWARD -m conntrack --ctstate DNAT -j ACCEPT",
		":DOCKER-USER FORWARD DOCKER-USER": "iptables-nft -I DOCKER-USER",
		":ufw-before-forward FORWARD ufw-before-forward": "ufw route allow in on eth0 out on cni0 to any port 80 proto tcp",
		":KUBE-POD-FW-X FORWARD KUBE-POD-FW-X":           "NetworkPolicy",
	} {
		rules := []string{}
		if f := strings.Fields(rule); len(f) == 3 {
			rules = []string{f[0], f[1] + " -j " + f[2]}
		}
		c := closes(t, model(t, table("filter", "DROP", rules...), nil), Outside, claimed())
		if c == nil || !strings.Contains(c.Remedy, want) {
			t.Errorf("%q: %+v, want %q", rule, c, want)
		}
	}
}

// Of a rule and a mapping that are asked at one point, in chains of two owners, nobody knows
// who has the packets: the rule is told beside the mapping. In the same chain the rule is
// first, and so it is without a mapping.
func TestLevel(t *testing.T) {
	at := func(f conflict.Finding, base string, priority int32) conflict.Finding {
		f.Base = base
		f.At = []conflict.Point{{Hook: walk.Prerouting, Stage: conflict.Translation, Priority: priority}}
		return f
	}
	service := claimed()
	service.Kind = finding.NodePort
	for _, tt := range []struct {
		name   string
		found  []conflict.Finding
		taker  finding.Kind
		unless int
	}{
		{"two owners at one priority", []conflict.Finding{at(service, "nftables ip kube-proxy", -100), at(claimed(), "iptables-nft", -100)}, finding.Claimed, 1},
		{"one owner", []conflict.Finding{at(service, "iptables-nft", -100), at(claimed(), "iptables-nft", -100)}, finding.NodePort, 0},
		{"another priority", []conflict.Finding{at(service, "nftables ip kube-proxy", -100), at(claimed(), "nftables", -95)}, finding.NodePort, 0},
		{"no mapping", []conflict.Finding{at(service, "nftables ip kube-proxy", -100), listener()}, finding.NodePort, 0},
	} {
		w := Way{Source: Source{Side: Outside}, To: node}
		w.take(Sorted(tt.found, walk.Prerouting))
		if w.Taker == nil || w.Taker.Kind != tt.taker || len(w.Unless) != tt.unless {
			t.Errorf("%s: %+v, unless %d", tt.name, w.Taker, len(w.Unless))
		}
	}
}

// What comes in by a link that a mapping leaves alone is the listener's there, and what the
// node sends to itself does not come in by it.
func TestByLink(t *testing.T) {
	web, dns := claimed(), listener()
	web.NotBy, dns.Who, dns.By = []string{"virbr0"}, "dnsmasq (pid 7)", "virbr0"
	virbr0 := walk.Link{Name: "virbr0", Index: 7}
	for _, tt := range []struct {
		name  string
		from  Source
		found []conflict.Finding
		takes string
	}{
		{"by eth0", Source{Link: eth0, Addr: client}, []conflict.Finding{web, dns}, web.Who},
		{"by its link", Source{Link: virbr0, Addr: client}, []conflict.Finding{web, dns}, dns.Who},
		{"of the node", Source{Side: Self}, []conflict.Finding{web, dns}, web.Who},
		{"by eth0 without the mapping", Source{Link: eth0, Addr: client}, []conflict.Finding{dns}, ""},
		{"of the node without it", Source{Side: Self}, []conflict.Finding{dns}, ""},
	} {
		m := model(t, "", nil)
		ways, err := m.Ways(Query{Proto: hostport.TCP, To: netip.AddrPortFrom(netip.Addr{}, 8080)}, []netip.Addr{node}, []Source{tt.from}, Claims{tt.from.Link: tt.found})
		if err != nil || len(ways) != 1 {
			t.Fatal(err)
		}
		got := ""
		if ways[0].Taker != nil {
			got = ways[0].Taker.Who
		}
		if got != tt.takes || len(ways[0].Unless) > 0 {
			t.Errorf("%s: %q takes it, want %q, unless %v", tt.name, got, tt.takes, ways[0].Unless)
		}
	}
}
