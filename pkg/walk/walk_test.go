// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/nft"
)

func TestWalk(t *testing.T) {
	const dnat = " -j DNAT --to-destination 10.0.0.2:80"
	for _, tt := range []struct {
		name  string
		rules []string
		want  string
	}{
		{"no rules translate nothing", nil, ""},
		{"a DNAT translates", []string{"PREROUTING -p tcp -m tcp --dport 80" + dnat}, "yes DNAT via PREROUTING"},
		{"a REDIRECT translates", []string{"PREROUTING -j REDIRECT --to-ports 1"}, "yes REDIRECT via PREROUTING"},
		{"a NETMAP translates", []string{"PREROUTING -j NETMAP --to 10.0.0.0/8"}, "yes NETMAP via PREROUTING"},
		{"a certain DNAT ends the walk", []string{"PREROUTING" + dnat, "PREROUTING -j REDIRECT"}, "yes DNAT via PREROUTING"},
		{"an uncertain DNAT does not", []string{"PREROUTING -s 10.0.0.0/8" + dnat, "PREROUTING -j REDIRECT"}, "some DNAT via PREROUTING; yes REDIRECT via PREROUTING"},
		{"a mark that is restored from a new connection is 0", []string{"PREROUTING -j MARK --set-mark 1", "PREROUTING -j CONNMARK --restore-mark", "PREROUTING -m mark --mark 0" + dnat}, "yes DNAT via PREROUTING"},
		{"a mark that is a hash is free", []string{"PREROUTING -j MARK --set-mark 1", "PREROUTING -j HMARK --hmark-tuple src --hmark-mod 2 --hmark-rnd 1", "PREROUTING -m mark --mark 0" + dnat}, "some DNAT via PREROUTING"},
		{"a mark that an ipset has is not known", []string{"PREROUTING -j MARK --set-mark 1", "PREROUTING -j SET --map-set M dst --map-mark", "PREROUTING -m mark --mark 9" + dnat}, "unknown DNAT via PREROUTING"},
		{"a packet that is put into an ipset keeps its mark", []string{"PREROUTING -j MARK --set-mark 1", "PREROUTING -j SET --add-set M src", "PREROUTING -m mark --mark 9" + dnat}, ""},
		{"targets that only mark keep on", []string{"PREROUTING -j MARK --set-mark 1", "PREROUTING -j LOG", "PREROUTING -m comment --comment none", "PREROUTING" + dnat}, "yes DNAT via PREROUTING"},
		{"the other base chain is not walked", []string{"OUTPUT" + dnat}, ""},

		{"ACCEPT before a DNAT hides it", []string{"PREROUTING -j ACCEPT", "PREROUTING" + dnat}, "end yes accept via PREROUTING"},
		{"DROP before a DNAT hides it", []string{"PREROUTING -p tcp -j DROP", "PREROUTING" + dnat}, "end yes drop via PREROUTING"},
		{"ACCEPT of others does not", []string{"PREROUTING -p udp -j ACCEPT", "PREROUTING" + dnat}, "yes DNAT via PREROUTING"},
		{"ACCEPT of some leaves the rest", []string{"PREROUTING -s 10.0.0.0/8 -j ACCEPT", "PREROUTING" + dnat}, "yes DNAT via PREROUTING; end some accept via PREROUTING"},
		{"ACCEPT of perhaps some leaves the rest", []string{"PREROUTING -m frob -j ACCEPT", "PREROUTING" + dnat}, "yes DNAT via PREROUTING; end unknown accept via PREROUTING"},

		{"a jump is followed", []string{"PREROUTING -j X", "X" + dnat}, "yes DNAT via PREROUTING > X"},
		{"a jump that does not match is not", []string{"PREROUTING -p udp -j X", "X" + dnat}, ""},
		{"the weakest match on the way counts", []string{"PREROUTING -s 10.0.0.0/8 -j X", "X -j Y", "Y" + dnat}, "some DNAT via PREROUTING > X > Y"},
		{"Unknown on the way counts more than Some", []string{"PREROUTING -m frob -j X", "X -s 10.0.0.0/8" + dnat}, "unknown DNAT via PREROUTING > X"},
		{"the end of a chain returns", []string{"PREROUTING -j X", "PREROUTING -j REDIRECT", "X -p udp" + dnat}, "yes REDIRECT via PREROUTING"},
		{"RETURN returns", []string{"PREROUTING -j X", "PREROUTING -j REDIRECT", "X -j RETURN", "X" + dnat}, "yes REDIRECT via PREROUTING"},
		{"RETURN of some goes on with the rest", []string{"PREROUTING -j X", "PREROUTING -j REDIRECT", "X -s 10.0.0.0/8 -j RETURN", "X" + dnat}, "yes DNAT via PREROUTING > X; yes REDIRECT via PREROUTING"},
		{"RETURN of perhaps some goes on with the rest", []string{"PREROUTING -j X", "X -m frob -j RETURN", "X" + dnat}, "yes DNAT via PREROUTING > X"},
		{"RETURN of others goes on", []string{"PREROUTING -j X", "X -p udp -j RETURN", "X" + dnat}, "yes DNAT via PREROUTING > X"},
		{"RETURN in a base chain is its policy", []string{"PREROUTING -j RETURN", "PREROUTING" + dnat}, ""},
		{"ACCEPT in a chain ends the base chain too", []string{"PREROUTING -j X", "PREROUTING" + dnat, "X -j ACCEPT"}, "end yes accept via PREROUTING > X"},
		{"a certain DNAT in a chain that some enter leaves the rest", []string{"PREROUTING -s 10.0.0.0/8 -j X", "PREROUTING -j REDIRECT", "X" + dnat}, "some DNAT via PREROUTING > X; yes REDIRECT via PREROUTING"},

		{"a goto is followed", []string{"PREROUTING -g X", "X" + dnat}, "yes DNAT via PREROUTING > X"},
		{"who returns from a goto leaves the chain", []string{"PREROUTING -g X", "PREROUTING" + dnat, "X -p udp -j ACCEPT"}, ""},
		{"RETURN from a goto leaves the chain", []string{"PREROUTING -g X", "PREROUTING" + dnat, "X -j RETURN"}, ""},
		{"a goto of some leaves the rest", []string{"PREROUTING -s 10.0.0.0/8 -g X", "PREROUTING" + dnat, "X -j RETURN"}, "yes DNAT via PREROUTING"},
		{"who returns from a goto comes back behind the jump", []string{"PREROUTING -j X", "PREROUTING -j REDIRECT", "X -g Y", "X" + dnat, "Y -j RETURN"}, "yes REDIRECT via PREROUTING"},
		{"ACCEPT behind a goto ends all", []string{"PREROUTING -j X", "PREROUTING" + dnat, "X -g Y", "Y -j ACCEPT"}, "end yes accept via PREROUTING > X > Y"},

		{"an unknown target may translate", []string{"PREROUTING -p tcp -m tcp --dport 80 -j FROB", "PREROUTING -j REDIRECT"}, "unknown FROB via PREROUTING; yes REDIRECT via PREROUTING"},
		{"an unknown target that does not match is nothing", []string{"PREROUTING -p udp -j FROB"}, ""},
		{"skipped chains are not followed", []string{"PREROUTING -j OURS", "PREROUTING -j REDIRECT", "OURS" + dnat}, "yes REDIRECT via PREROUTING"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := walker(t, Options{Skip: func(c string) bool { return c == "OURS" }}, tt.rules...)
			r, err := w.Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, say(r)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestWalkGivesUp(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules []string
	}{
		{"a chain that jumps to itself", []string{"PREROUTING -j X", "X -j X"}},
		{"two chains that jump to each other", []string{"PREROUTING -j X", "X -s 10.0.0.0/8 -j Y", "Y -g X"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := walker(t, Options{}, tt.rules...).Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
			if !errors.Is(err, ErrTooComplex) {
				t.Errorf("error is %v, want ErrTooComplex", err)
			}
		})
	}
}

// branching are eight levels of width jumps each, that lead on with another mark each: width
// to the power of eight different sets of packets get to the end.
func branching(width int) []string {
	rules := []string{"PREROUTING -j C0"}
	for i := range 8 {
		for j := range width {
			rules = append(rules, fmt.Sprintf("C%d -m statistic --mode random --probability 0.5 -j C%dM%d", i, i, j),
				fmt.Sprintf("C%dM%d -j MARK --set-xmark 0x%x/0x%x", i, j, j<<(3*i), 7<<(3*i)), fmt.Sprintf("C%dM%d -g C%d", i, j, i+1))
		}
	}
	return append(rules, "C8 -m statistic --mode random --probability 0.5 -j ACCEPT")
}

// Rules that only let packets leave their chain are not asked, if none behind them does more.
func TestWalkLeavesIdleRulesOut(t *testing.T) {
	idle := []string{"PREROUTING -j sources", "sources -s 10.0.0.1/32 -j RETURN", "sources -s 10.0.0.0/8 -p tcp", "sources -i eth0 -j RETURN", "sources -j RETURN"}
	for _, tt := range []struct {
		last  string
		asked int
	}{
		{"PREROUTING -p tcp -j DNAT --to-destination 10.88.0.9:80", 2},
		{"sources -p tcp -j DNAT --to-destination 10.88.0.9:80", 5},  // behind one for all
		{"sources -s 10.0.0.1/32 -j MARK --set-xmark 0x1/0x1", 5},    // the same
		{"PREROUTING -s 10.0.0.1/32 -j MARK --set-xmark 0x1/0x1", 2}, // which is behind the chain
	} {
		w := walker(t, Options{}, append(idle[:len(idle):len(idle)], tt.last)...)
		r, err := w.Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
		if err != nil {
			t.Fatal(err)
		}
		if (len(r.NAT) > 0) != strings.HasPrefix(tt.last, "PREROUTING -p tcp") || w.asked != tt.asked {
			t.Errorf("%s: %d rules were asked, want %d; found %+v", tt.last, w.asked, tt.asked, r.NAT)
		}
	}
}

// Many rules may jump to a chain of many that do nothing: what those are is looked at once.
func TestWalkLooksForIdleRulesOnce(t *testing.T) {
	src := &ruleset{family: nft.IPv4, chains: map[string][]nft.Rule{}}
	for i := range 1000 {
		from := and(load(1, 12, 4), is(10, 100, byte(i>>8), byte(i)), jump("sources"))
		src.chains["pre"] = append(src.chains["pre"], nft.Rule{Exprs: from})
	}
	src.chains["sources"] = slices.Repeat(rulesOf(and(load(1, 12, 4), is(10, 101, 0, 1), ret())), 50_000)
	began := time.Now()
	src.walk(t, packet4(Prerouting))
	if took := time.Since(began); took > 5*time.Second { // it is much less than a second, or half a minute
		t.Errorf("it took %v", took)
	}
}

// Of thousands of rules that do the same with a source each, some are told, and all are followed.
func TestWalkSaysListsOnce(t *testing.T) {
	var rules []string
	for i := range maxPaths + 100 {
		rules = append(rules, fmt.Sprintf("PREROUTING -s 10.%d.%d.1/32 -j %s", i>>8, i&255, []string{"DROP", "ACCEPT"}[i%2]))
	}
	rules = append(rules, "PREROUTING -s 10.0.0.0/8 -m comment --comment \"the last one\" -j DROP")
	r, err := walker(t, Options{}, rules...).Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.End) != 2*maxSaid+1 || r.End[2*maxSaid].Last().Comment != "the last one" ||
		r.End[0].Last().Index != 0 || r.End[2*maxSaid-1].Last().Index != maxPaths+99 {
		t.Errorf("%d rules are told: %+v", len(r.End), r.End)
	}
	if len(r.Accepted) == 0 || len(r.Stopped) == 0 || len(r.Next) == 0 {
		t.Errorf("accepted %v, stopped %v, next %v", r.Accepted, r.Stopped, r.Next)
	}
}

// Of thousands of links that rules have met the first are left out of what goes on. Others go on.
func TestWalkOfManyLinks(t *testing.T) {
	var rules []string
	for i := range 2 * maxLinks {
		rules = append(rules, fmt.Sprintf("PREROUTING -i veth%d -j ACCEPT", i))
	}
	for last, want := range map[string]int{"veth0": 0, "eth0": 1} {
		r, err := walker(t, Options{}, append(rules, "PREROUTING -i "+last+" -j DNAT --to-destination 10.88.0.9:80")...).Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
		if err != nil || len(r.NAT) != want {
			t.Errorf("%s: %+v, %v", last, r.NAT, err)
		}
	}
}

// Who waits is told what took so long.
func TestWalkTooLong(t *testing.T) {
	asked := 0
	late := func() bool { asked++; return asked > 100 }
	w := walker(t, Options{Late: late}, branching(8)...)
	_, err := w.Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
	if !errors.Is(err, ErrTooLong) || !strings.Contains(err.Error(), "they were asked 6464 times so far (rules: ") {
		t.Errorf("error is %v", err)
	}
	if w.asked > 101*patience {
		t.Errorf("%d rules were asked", w.asked)
	}
}

// What chains do is found by some of the ways that lead there, however many there are, and
// by one of each kind: for certain, and by the port.
func TestWalkSaysItOnce(t *testing.T) {
	rules := []string{"PREROUTING -j C0"}
	for i := range 8 {
		for range 8 {
			rules = append(rules, fmt.Sprintf("C%d -m statistic --mode random --probability 0.5 -j C%d", i, i+1))
		}
	}
	rules = append(rules, "C8 -j LEAF", "LEAF -m statistic --mode random --probability 0.5 -j ACCEPT", "LEAF -j FROB",
		"PREROUTING -j LEAF", "PREROUTING -p tcp -m tcp --dport 80 -j LEAF")
	w := walker(t, Options{}, rules...)
	r, err := w.Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
	if err != nil {
		t.Fatal(err)
	}
	if most := 8 * 8 * maxSaid * 2; w.asked > most {
		t.Errorf("%d rules were asked of %d", w.asked, w.rulesRead())
	}
	certain := slices.ContainsFunc(r.End, func(p Path) bool { return p.Match == Some && len(p.Hops) == 2 })
	named := slices.ContainsFunc(r.NAT, func(p Path) bool { return p.NamesPort() && len(p.Hops) == 2 })
	if n := len(r.NAT) + len(r.End); n > 100 || !certain || !named {
		t.Errorf("%d paths, the direct one among them %t, that with the port %t", n, certain, named)
	}
}

// Chains that do nothing with the packets are walked once, however many ways lead there.
func TestWalkAgain(t *testing.T) {
	rules := []string{"PREROUTING -j C0"}
	for i := range 12 {
		for j := range 8 {
			rules = append(rules, fmt.Sprintf("C%d -s 10.%d.0.0/16 -j C%d", i, j%2, i+1))
		}
	}
	r, err := walker(t, Options{}, append(rules, "C12 -p udp -j ACCEPT", "PREROUTING -j DNAT --to-destination 10.0.0.1")...).Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
	if err != nil || say(r) != "yes DNAT via PREROUTING" {
		t.Errorf("%v %s", err, say(r))
	}
}

// A firewall with thousands of sources is followed in time that grows with their number.
func TestWalkManySources(t *testing.T) {
	var rules []string
	for i := range 4000 {
		rules = append(rules, fmt.Sprintf("PREROUTING -s 10.%d.%d.1/32 -j RETURN", i/256, i%256))
	}
	src := nat(t, hostport.IPv4, append(rules, "PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1")...)
	began := time.Now()
	r, err := New(src, natTable(hostport.IPv4), hostport.IPv4, Options{}).Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
	if err != nil || len(r.NAT) != 1 || r.NAT[0].Match != Yes {
		t.Errorf("%v %s", err, say(r))
	}
	t.Logf("took %v", time.Since(began))
}

// The kernel allows 16 nested jumps in nf_tables; the walk must follow them.
func TestWalkFollowsDeepJumps(t *testing.T) {
	rules := []string{"PREROUTING -j C0"}
	for i := range 30 {
		rules = append(rules, fmt.Sprintf("C%d -j C%d", i, i+1))
	}
	r, err := walker(t, Options{}, append(rules, "C30 -j DNAT")...).Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
	if err != nil || len(r.NAT) != 1 || len(r.NAT[0].Hops) != 32 {
		t.Errorf("got %s, %v", say(r), err)
	}
}

// A chain that is not there is not one without rules.
func TestWalkOfNothing(t *testing.T) {
	w := walker(t, Options{})
	if r, err := w.Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80)); err != nil || say(r) != "" {
		t.Errorf("got %s, %v", say(r), err)
	}
	if _, err := w.Walk("NONE", packet(Prerouting, "192.0.2.1", 80)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestReached(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules []string
		want  string
	}{
		{"without rules all get to the end", nil, "192.0.2.1-192.0.2.9"},
		{"none gets behind an ACCEPT", []string{"PREROUTING -j ACCEPT"}, ""},
		{"a part gets behind an ACCEPT of the rest", []string{"PREROUTING -d 192.0.2.0/30 -j ACCEPT"}, "192.0.2.4-192.0.2.9"},
		{"an ACCEPT of some sources leaves others", []string{"PREROUTING -s 10.0.0.0/8 -j ACCEPT"}, "192.0.2.1-192.0.2.9"},
		{"both halves leave none", []string{"PREROUTING -s 0.0.0.0/1 -j ACCEPT", "PREROUTING -s 128.0.0.0/1 -j ACCEPT"}, ""},
		{"behind our jump nothing matters", []string{"PREROUTING -j OURS", "PREROUTING -j ACCEPT", "OURS -j RETURN"}, "192.0.2.1-192.0.2.9"},
		{"before our jump it does", []string{"PREROUTING -j ACCEPT", "PREROUTING -j OURS", "OURS -j RETURN"}, ""},
		{"who returned gets there", []string{"PREROUTING -j X", "X -s 10.0.0.0/8 -j RETURN", "X -j ACCEPT"}, "192.0.2.1-192.0.2.9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := walker(t, Options{Skip: func(c string) bool { return c == "OURS" }}, tt.rules...)
			p := packet(Prerouting, "192.0.2.1", 80)
			p.Dst = addrset.Between(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9"))
			r, err := w.Walk("PREROUTING", p)
			if err != nil || r.Reached.String() != tt.want {
				t.Errorf("got %q, %v, want %q", r.Reached, err, tt.want)
			}
		})
	}
}

func TestNamesPort(t *testing.T) {
	for rule, want := range map[string]bool{
		"PREROUTING -p tcp -m tcp --dport 80 -j DNAT":              true,
		"PREROUTING -p tcp -m multiport --dports 80,81 -j DNAT":    true,
		"PREROUTING -p tcp -m multiport --ports 80 -j DNAT":        true,
		"PREROUTING -m conntrack --ctorigdstport 80 -j DNAT":       true,
		"PREROUTING -p tcp -m set --match-set S dst,dst -j DNAT":   true,
		"PREROUTING -p tcp -m tcp ! --dport 22 -j DNAT":            false,
		"PREROUTING -p tcp -m tcp --sport 80 -j DNAT":              false,
		"PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1:8080": false,
	} {
		r, err := walker(t, Options{}, rule).Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
		if err != nil || len(r.NAT) != 1 {
			t.Fatalf("%s: got %s, %v", rule, say(r), err)
		}
		if got := r.NAT[0].NamesPort(); got != want {
			t.Errorf("%s: got %v, want %v", rule, got, want)
		}
	}
	r, err := walker(t, Options{}, "PREROUTING -p tcp -m tcp --dport 80 -j X", "X -j DNAT").Walk("PREROUTING", packet(Prerouting, "192.0.2.1", 80))
	if err != nil || !r.NAT[0].NamesPort() {
		t.Errorf("the port named by the jump was missed: %s, %v", say(r), err)
	}
}

func TestKubeProxyNodePorts(t *testing.T) {
	for _, file := range []string{"proxy-iptables-legacy.iptables-legacy-save", "proxy-iptables-nft.iptables-nft-save"} {
		w := fixture(t, file)
		for _, tt := range []struct {
			name, dst string
			proto     hostport.Proto
			port      uint16
			nodePort  bool
		}{
			{"a tcp NodePort is found", "10.99.0.2", hostport.TCP, 30080, true},
			{"a udp NodePort is found", "10.99.0.2", hostport.UDP, 30080, true},
			{"a NodePort of a local policy is found", "10.99.0.2", hostport.TCP, 30081, true},
			{"a NodePort of a LoadBalancer is found", "10.99.0.2", hostport.TCP, 30083, true},
			{"the same number of another protocol is free", "10.99.0.2", hostport.SCTP, 30080, false},
			{"a NodePort without endpoints has no rule in nat", "10.99.0.2", hostport.TCP, 30082, false},
			{"the port of a ClusterIP is free on the node", "10.99.0.2", hostport.TCP, 80, false},
		} {
			for _, h := range []Hook{Prerouting, Output} {
				t.Run(fmt.Sprint(filepath.Ext(file), " ", h, " ", tt.name), func(t *testing.T) {
					r, err := w.Walk(string(h), Packet{Hook: h, Proto: tt.proto, Dst: one(tt.dst), Port: tt.port})
					if err != nil {
						t.Fatal(err)
					}
					if got := len(r.NAT) > 0; got != tt.nodePort {
						t.Fatalf("got %s, want NAT: %v", say(r), tt.nodePort)
					}
					for _, p := range r.NAT {
						if len(p.Hops) < 3 || p.Hops[1].Chain != "KUBE-SERVICES" || p.Hops[2].Chain != "KUBE-NODEPORTS" || !p.NamesPort() || p.Match == Unknown {
							t.Errorf("not by KUBE-NODEPORTS: %s", say(Result{NAT: []Path{p}}))
						}
					}
				})
			}
		}
	}
}

func TestKubeProxyServiceAddresses(t *testing.T) {
	w := fixture(t, "proxy-iptables-nft.iptables-nft-save")
	for dst, want := range map[string]bool{"10.96.0.1:443": true, "10.96.0.1:444": false, "10.99.0.50:80": true, "10.99.0.60:80": true, "10.99.0.60:81": false} {
		ap := netip.MustParseAddrPort(dst)
		r, err := w.Walk("OUTPUT", packet(Output, ap.Addr().String(), ap.Port()))
		if err != nil || (len(r.NAT) > 0) != want {
			t.Errorf("%s: got %s, %v, want NAT: %v", dst, say(r), err, want)
		}
	}
}

func FuzzWalk(f *testing.F) {
	f.Add("*nat\n:PREROUTING ACCEPT [0:0]\n:X - [0:0]\n-A PREROUTING ! -s 10.0.0.0/8 -p tcp -m tcp --dport 80:90 -g X\n-A X -j DNAT --to-destination 1.1.1.1\nCOMMIT\n", uint16(80))
	f.Add("*nat\n:OUTPUT ACCEPT [0:0]\n:X - [0:0]\n-A OUTPUT -m iprange --dst-range 1.1.1.1-2.2.2.2 -j X\n-A X -m conntrack --ctstate NEW -d 1.0.0.0/255.0.255.0 -j X\nCOMMIT\n", uint16(1))
	f.Fuzz(func(t *testing.T, text string, port uint16) {
		src, err := xtrule.Parse(text, hostport.IPv4)
		if err != nil {
			return
		}
		for _, h := range []Hook{Prerouting, Output} {
			r, err := New(src, natTable(hostport.IPv4), hostport.IPv4, Options{}).Walk(string(h), packet(h, "192.0.2.1", port))
			if err != nil && !errors.Is(err, ErrTooComplex) && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			for _, p := range append(r.NAT, r.End...) {
				if p.Match == No || p.Match > Unknown || p.NamesPort() && p.Last().Text() == "" {
					t.Errorf("path %s", say(Result{NAT: []Path{p}}))
				}
			}
		}
	})
}
