// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/nft"
)

// Rules of iptables-legacy have no handle. Where nobody prints them their place tells
// which they are.
func TestWhere(t *testing.T) {
	s := node().rules(t, v4, true, "PREROUTING -p udp -j ACCEPT", "PREROUTING -m addrtype --dst-type LOCAL -j DOCKER", "DOCKER -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:80")
	legacy := s
	legacy.Rulesets = []Ruleset{{Holder: Legacy, Chains: s.Rulesets[0].Chains, Source: s.Rulesets[0].Source}}
	legacy.Place.Flavour = "legacy"
	var asked []Rule
	printed := func(in Snapshot) Snapshot {
		in.Print = func(r Rule) string {
			asked = append(asked, r)
			return s.Print(r)
		}
		return in
	}
	silent := func(in Snapshot) Snapshot {
		in.Print = func(Rule) string { return "" }
		return in
	}
	const text = `"-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:80"`
	for _, tt := range []struct {
		s    Snapshot
		want string
	}{
		{printed(s), "iptables-nft IPv4 nat PREROUTING > DOCKER: " + text},
		{printed(legacy), "iptables-legacy IPv4 nat PREROUTING > DOCKER: " + text},
		{silent(s), "nftables ip nat PREROUTING > DOCKER: handle 1: [ meta load l4proto ] [ cmp eq 0x06 ] [ match tcp ] [ counter ] [ target DNAT ]"},
		{silent(legacy), "iptables-legacy IPv4 nat PREROUTING > DOCKER: rule 1: [ meta load l4proto ] [ cmp eq 0x06 ] [ match tcp ] [ counter ] [ target DNAT ]"},
	} {
		r, err := Find(attach(mapTo(v4, "")), tt.s)
		if err != nil || len(r.Conflicts) != 1 {
			t.Fatal(err, r)
		}
		if d := cmp.Diff(tt.want, r.Conflicts[0].Where); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
	want := []Rule{{"nft", v4, "nat", "DOCKER", 0, 1, nft.Table{}}, {"legacy", v4, "nat", "DOCKER", 0, 1, nft.Table{}}}
	if d := cmp.Diff(want, slices.Compact(asked)); d != "" {
		t.Errorf("rules that were printed (-want +got)\n%s", d)
	}
}

// What a finding means is looked up.
func TestSeverity(t *testing.T) {
	for _, row := range finding.Table() {
		for name, f := range map[string]Finding{"": {}, "conditional": {Conditional: true}, "spared": {Spared: true}, "dead": {Life: hostport.Dead}} {
			want := row.Severity
			switch {
			case f.Spared, f.Life == hostport.Dead:
				want = finding.Note
			case f.Conditional:
				want = max(want, finding.Warn)
			}
			var r Report
			f.Kind = row.Kind
			r.add(f)
			if got := [3]int{len(r.Conflicts), len(r.Warnings), len(r.Beside)}; got[want] != 1 || got[0]+got[1]+got[2] != 1 {
				t.Errorf("%s %s: got %v", name, row.Name, got)
			}
		}
	}
}

// An ACCEPT by an ipset before a DNAT takes its packets away from it.
func TestIPSetBeforeDNAT(t *testing.T) {
	s := node().rules(t, v4, false, "PREROUTING -p tcp -m set --match-set S dst -j ACCEPT", "PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:80")
	rules := s.Rulesets[0].Source.(*xtrule.Tables)
	for want, port := range map[string]string{"": "80", "refuse 103": "81"} {
		s.Sets = fakeSets{rules: rules, members: map[string][]string{"S": {"bitmap:port", port}}}
		r, err := Find(attach(mapTo(v4, "")), s)
		if err != nil || say(r) != want {
			t.Errorf("a set of %s: got %q, %v, want %q", port, say(r), err, want)
		}
	}
}

// A nameless is a kernel that does not tell the names of ipsets.
type nameless struct{ fakeSets }

func (nameless) SetName(uint16) (string, error) { return "", nil }

// namelessNode has NodePorts in one of those.
func namelessNode(t *testing.T) Snapshot {
	s := node().rules(t, v4, true, "PREROUTING -j KUBE-SERVICES", "KUBE-SERVICES -j KUBE-NODE-PORT", "KUBE-NODE-PORT -p tcp -m set --match-set S dst -j RETURN")
	s.Sets = nameless{}
	return s
}

func TestIPVSWithoutNamesFailsClosed(t *testing.T) {
	s := namelessNode(t)
	if _, err := Find(attach(mapTo(v4, "")), s); !errors.Is(err, errNoSetName) {
		t.Errorf("error is %v", err)
	}
	if r, err := Find(attach(mapPort(v4, "", udp, 80)), s); err != nil || say(r) != "" {
		t.Errorf("another protocol: got %q, %v", say(r), err)
	}
}

// Our own base chains are not asked, be they among the others.
func TestOwnBaseChains(t *testing.T) {
	src := &table4{chains: map[string][]nft.Rule{}}
	src.rule("pre", "", append(dportIs(80), ex("redir"))...)
	s := node().native(src, base(nft.Inet, "portguard", "pre", "nat", nft.Prerouting))
	s.Owns = func(t nft.Table, chain string) bool { return t.Name == "portguard" && chain == "pre" }
	if r, err := Find(attach(mapTo(v4, "")), s); err != nil || say(r) != "" {
		t.Errorf("got %q, %v", say(r), err)
	}
}

// portmap's rule tells the container, and libcni's cache its pod.
func TestForeignPod(t *testing.T) {
	s := node().rules(t, v4, true, "PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
		`CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"x\"" -m multiport --dports 80 -j CNI-DN-x`,
		"CNI-DN-x -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080")
	for who, o := range map[string]hostport.Owner{
		"portmap has it for pod shop/web, container x (network net) (": {ContainerID: "x", Network: "net", PodNamespace: "shop", PodName: "web"},
		"portmap has it for container x (network net) (":               {ContainerID: "y", Network: "net", PodNamespace: "shop", PodName: "other"},
	} {
		s.Claims = []hostport.Claim{{Owner: o, Key: "k", Backend: "portmap", Mapping: mapTo(v4, ""), Foreign: true}}
		r, err := Find(attach(mapTo(v4, "")), s)
		if err != nil || len(r.All()) != 1 || !strings.Contains(r.All()[0].Message, who) {
			t.Errorf("want %q, got %+v, %v", who, r.All(), err)
		}
	}
}

// A rule of portmap is what counts, whatever its claim says; but one for a container that
// is gone is taken over.
func TestForeignClaims(t *testing.T) {
	rules := func(id string) []string {
		return []string{"PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
			`CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"` + id + `\"" -m multiport --dports 80 -j CNI-DN-x`,
			"CNI-DN-x -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080"}
	}
	native := &table4{chains: map[string][]nft.Rule{}}
	native.rule("pre", "x", append(dportIs(80), ex("nat", 1, 1, 2, 2))...)
	claim := func(network, id string, life hostport.Life) hostport.Claim {
		o := hostport.Owner{Network: network, ContainerID: id}
		return hostport.Claim{Owner: o, Key: "key of " + network + "/" + id, Backend: "portmap", Mapping: mapTo(v4, ""), Foreign: true, Life: life}
	}
	iptables := node().rules(t, v4, true, rules("x")...)
	nftables := node().native(native, base(nft.IPv4, "cni_hostport", "pre", "nat", nft.Prerouting))
	for _, tt := range []struct {
		name   string
		s      Snapshot
		claims []hostport.Claim
		want   string
		keys   []hostport.Key
	}{
		{"a claim without a rule is none", node(), []hostport.Claim{claim("net", "x", hostport.Alive)}, "", nil},
		{"a dead one neither", node(), []hostport.Claim{claim("net", "x", hostport.Dead)}, "", nil},
		{"a rule without a claim refuses", iptables, nil, "refuse 103", nil},
		{"a rule of a live container refuses", iptables, []hostport.Claim{claim("net", "x", hostport.Alive)}, "refuse 103", nil},
		{"so does that of one of which nobody can tell", iptables, []hostport.Claim{claim("net", "x", hostport.Unknown)}, "refuse 103", nil},
		{"that of a dead one is taken over", iptables, []hostport.Claim{claim("net", "x", hostport.Dead)}, "take over 1", []hostport.Key{"key of net/x"}},
		{"another container does not matter", iptables, []hostport.Claim{claim("net", "y", hostport.Dead)}, "refuse 103", nil},
		{"nor does another network", iptables, []hostport.Claim{claim("net2", "x", hostport.Dead)}, "refuse 103", nil},
		{"without a network in the rule it does", nftables, []hostport.Claim{claim("net", "x", hostport.Dead)}, "take over 1", []hostport.Key{"key of net/x"}},
		{"one that lives in a network lives", nftables, []hostport.Claim{claim("net", "x", hostport.Dead), claim("net2", "x", hostport.Alive)}, "refuse 103", nil},
	} {
		tt.s.Claims = tt.claims
		r, err := Find(attach(mapTo(v4, "")), tt.s)
		if err != nil || say(r) != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.name, say(r), err, tt.want)
		}
		if d := cmp.Diff(tt.keys, r.TakeOver); d != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, d)
		}
		if len(tt.keys) > 0 && (len(r.Beside) != 1 || r.Beside[0].Life != hostport.Dead || !strings.Contains(r.Beside[0].Who, "portmap for container x")) {
			t.Errorf("%s: beside is %+v", tt.name, r.Beside)
		}
	}
}
