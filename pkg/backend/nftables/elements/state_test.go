// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

const (
	v4  = hostport.IPv4
	v6  = hostport.IPv6
	tcp = hostport.TCP
	udp = hostport.UDP
)

func on(f hostport.Family, ip string, p hostport.Proto, host, container uint16) hostport.Mapping {
	m := hostport.Mapping{Family: f, Proto: p, HostPort: host, ContainerPort: container}
	if ip != "" {
		m.HostIP = addr(ip)
	}
	return m
}

// web is a dual-stack pod as ADD settles it.
func web(id string, change ...func(*hostport.Attachment)) hostport.Attachment {
	a := hostport.Attachment{Owner: hostport.Owner{Network: "net", ContainerID: id, IfName: "eth0"},
		Pods:     []netip.Prefix{prefix("10.88.0.5/16"), prefix("fd00:88::5/64")},
		Mappings: []hostport.Mapping{on(v4, "", tcp, 8080, 80), on(v6, "", tcp, 8080, 80)},
		Networks: []netip.Prefix{prefix("192.0.2.0/24"), prefix("2001:db8:2::/64"), prefix("10.88.0.0/16")},
		SNAT:     true, Localhost: true, Link: "cni0"}
	for _, f := range change {
		f(&a)
	}
	return a
}

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func ports(ms ...hostport.Mapping) func(*hostport.Attachment) {
	return func(a *hostport.Attachment) { a.Mappings = ms }
}

func shapes() map[string]hostport.Attachment {
	return map[string]hostport.Attachment{
		"dual-stack": web("web"),
		"host-ip": web("web", ports(on(v4, "192.0.2.1", tcp, 80, 8080), on(v6, "2001:db8:2::1", udp, 53, 53), on(v4, "127.0.0.1", udp, 53, 53)), func(a *hostport.Attachment) {
			a.Flows = []hostport.Flow{{Local: at("[2001:db8:2::1]:53"), Peer: at("[2001:db8:2::9]:5300")}, {Local: at("127.0.0.1:53"), Peer: at("127.0.0.1:5300")}, {Local: at("192.0.2.1:53"), Peer: at("192.0.2.9:53")}}
		}),
		"everything": web("web", ports(on(v4, "", tcp, 80, 80), on(v4, "192.0.2.1", tcp, 80, 81), on(v4, "198.51.100.1", tcp, 80, 82), on(v4, "", hostport.SCTP, 80, 80)),
			func(a *hostport.Attachment) {
				a.Excludes = []netip.Prefix{prefix("169.254.20.10/32"), prefix("10.0.0.0/13"), prefix("10.1.0.0/16"), prefix("127.0.0.0/9")}
				a.Carves = []hostport.Carve{{Addr: addr("192.0.2.7"), Proto: tcp, Port: 80}, {Addr: addr("127.0.0.53"), Proto: tcp, Port: 80}, {Addr: addr("192.0.2.9"), Proto: tcp, Port: 9}}
			}),
		"masq-all":      web("web", func(a *hostport.Attachment) { a.MasqAll = true }),
		"no-snat":       web("web", func(a *hostport.Attachment) { a.SNAT = false }),
		"no-localhost":  web("web", func(a *hostport.Attachment) { a.Localhost = false }),
		"localhost-own": web("web", func(a *hostport.Attachment) { a.Carves = []hostport.Carve{{Addr: localhost(), Proto: tcp, Port: 8080}} }),
		"conditions": web("web", ports(on(v4, "", tcp, 80, 80), on(v4, "192.0.2.1", tcp, 80, 81), on(v6, "2001:db8:2::1", tcp, 80, 80)),
			func(a *hostport.Attachment) {
				a.ConditionsV4, a.ConditionsV6 = []string{"ip", "saddr", "{ 192.0.2.2, 192.0.2.3 }"}, []string{"ip6 saddr 2001:db8:2::/64"}
				a.Carves = []hostport.Carve{{Addr: localhost(), Proto: tcp, Port: 80}, {Addr: addr("192.0.2.1"), Proto: tcp, Port: 80, Link: "virbr0"}}
			}),
		"links": web("web", ports(on(v4, "192.0.2.1", tcp, 80, 8080), on(v6, "2001:db8:2::1", udp, 53, 53), on(v4, "198.51.100.1", tcp, 80, 82)), func(a *hostport.Attachment) {
			a.Localhost = false
			a.Carves = []hostport.Carve{{Addr: addr("192.0.2.1"), Proto: tcp, Port: 80, Link: "virbr0"}, {Addr: addr("192.0.2.1"), Proto: tcp, Port: 80, Link: "virbr1"},
				{Addr: addr("2001:db8:2::1"), Proto: udp, Port: 53, Link: "eth0.7"}, {Addr: addr("192.0.2.1"), Proto: udp, Port: 80, Link: "virbr0"}}
		}),
		"only-v6": web("web", ports(on(v6, "", tcp, 8080, 80)), func(a *hostport.Attachment) { a.Pods = a.Pods[1:]; a.Localhost = false }),
	}
}

// What each shape of an attachment has is as reviewed, as a script that nft would load.
// Package integration has nft load it.
func TestGolden(t *testing.T) {
	for name, a := range shapes() {
		t.Run(name, func(t *testing.T) {
			got := script(absent().With(a))
			file := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// absent is the table that is not there.
func absent() *State { return &State{Table: Spec().Absent()} }

// table is that of a state.
func table(s backend.State) *nfttable.Table { return s.(*State).Table }

// script adds what s has to a table that has the skeleton.
func script(s backend.State) string {
	var b strings.Builder
	t := table(s)
	for _, name := range t.Chains() {
		c, _ := t.Conditions(name)
		fmt.Fprintf(&b, "add chain %s %s\n", t.Spec.Table, name)
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "add rule %s %s %s\n", t.Spec.Table, name, r)
		}
	}
	for _, e := range t.Elements(func(nfttable.Element) bool { return true }) {
		fmt.Fprintf(&b, "add element %s %s { %s }\n", t.Spec.Table, e.Set, t.Spec.Text(e))
	}
	return b.String()
}

// same compares two states.
func same(t *testing.T, what string, want, got backend.State) {
	t.Helper()
	if d := cmp.Diff(script(want), script(got)); d != "" {
		t.Errorf("%s (-want +got)\n%s", what, d)
	}
	if w, g := table(want).There, table(got).There; w != g {
		t.Errorf("%s: the table is there: %t, want %t", what, g, w)
	}
}

// With and Without of each shape lead back, and nobody else's elements are touched.
func TestRemoveIsExact(t *testing.T) {
	other := web("other", ports(on(v4, "", udp, 9, 9), on(v4, "192.0.2.1", tcp, 9, 9)))
	other.Pods = []netip.Prefix{prefix("10.88.0.6/16")} // an address is one pod's
	for name, a := range shapes() {
		for from, before := range map[string]backend.State{"from nothing": absent(), "beside another": absent().With(other)} {
			with := before.With(a)
			same(t, name+" "+from, before, with.Without(a.Owner.Key()))
			if lost := with.Missing(a); len(lost) > 0 {
				t.Errorf("%s %s: %v", name, from, lost)
			}
			same(t, name+" "+from+" a second time", with, with.With(a))
			same(t, name+" "+from+" for somebody else", before.With(withOwner(a, "heir")), with.With(withOwner(a, "heir"), a.Owner.Key()))
		}
	}
}

func withOwner(a hostport.Attachment, id string) hostport.Attachment {
	a.Owner.ContainerID = id
	return a
}

// A port that somebody has stays with them.
func TestNeverSomebodyElses(t *testing.T) {
	one, two := web("one"), web("two", func(a *hostport.Attachment) { a.Pods = []netip.Prefix{prefix("10.88.0.6/16"), prefix("fd00:88::6/64")} })
	both := absent().With(one).With(two)
	if lost := both.Missing(one); len(lost) > 0 {
		t.Errorf("the first one lost %q", lost)
	}
	same(t, "without the second", absent().With(one), both.Without(two.Owner.Key()))
	if got := both.With(web("three", ports())); !plan(both, got).Empty() {
		t.Error("somebody without mappings changes something")
	}
}

func plan(have, want backend.State) nfttable.Plan { return nfttable.Diff(table(have), table(want)) }

// What an attachment maps can be read from the elements alone.
func TestClaims(t *testing.T) {
	a := web("web", ports(on(v4, "", tcp, 8080, 80), on(v6, "", udp, 53, 5353), on(v4, "192.0.2.1", tcp, 90, 91), on(v6, "2001:db8:2::1", tcp, 90, 91)))
	var got []hostport.Mapping
	for _, c := range absent().With(a).Claims() {
		if c.Key != a.Owner.Key() || !c.Owner.Same(a.Owner) {
			t.Errorf("owner is %+v, key %s", c.Owner, c.Key)
		}
		if c.Backend != "nftables" || c.Where != "nftables table inet portguard" || c.Priority != -95 || c.Packets != -1 {
			t.Errorf("the claim is %+v", c)
		}
		got = append(got, c.Mapping)
	}
	if len(got) != len(a.Mappings) || slices.ContainsFunc(a.Mappings, func(m hostport.Mapping) bool { return !slices.Contains(got, m) }) {
		t.Errorf("mappings are %v, want %v", got, a.Mappings)
	}
	if conditional := absent().With(shapes()["conditions"]).Claims(); len(conditional) != 2 || !conditional[0].Mapping.Wildcard() || !conditional[0].Part {
		t.Errorf("claims with conditions are %v", conditional)
	}
}

// What the table tells of an attachment makes the same elements again.
func TestRecover(t *testing.T) {
	for name, a := range shapes() {
		s := absent().With(web("other", ports(on(v4, "", udp, 9, 9)), func(a *hostport.Attachment) { a.Pods = []netip.Prefix{prefix("10.88.0.6/24")} })).With(a)
		got, ok := s.Recover(a.Owner.Key())
		if !ok || got.Owner != a.Owner || got.Localhost != a.Localhost || got.MasqAll != a.MasqAll || got.SNAT != a.SNAT {
			t.Errorf("%s: recovered %+v", name, got)
		}
		if a.Localhost && got.Link != a.Link {
			t.Errorf("%s: link %q", name, got.Link)
		}
		for _, pod := range got.Pods {
			if a.SNAT && !a.MasqAll && !slices.Contains(a.Pods, pod) {
				t.Errorf("%s: pod %s", name, pod)
			}
		}
		got.ConditionsV4, got.ConditionsV6 = a.ConditionsV4, a.ConditionsV6
		if name == "conditions" { // where they lead only the request tells
			got.Mappings = a.Mappings
			got.Carves = a.Carves
		}
		same(t, name, s, s.With(got))
	}
	if _, ok := absent().With(web("web")).Recover(hostport.Owner{ContainerID: "nobody"}.Key()); ok {
		t.Error("somebody who has nothing is recovered")
	}
	if _, ok := absent().With(web("web")).Recover(""); ok {
		t.Error("what is shared is somebody's")
	}
}

// Intervals of one set never overlap: the kernel would refuse them.
func TestIntervalsDoNotOverlap(t *testing.T) {
	for name, a := range shapes() {
		elems := Of(a)
		for i, x := range elems {
			for _, y := range elems[:i] {
				if x.Set == y.Set && x.To != "" && overlap(x, y) {
					t.Errorf("%s: %s: %s and %s overlap", name, x.Set, Spec().Text(x), Spec().Text(y))
				}
			}
		}
	}
}

func overlap(x, y nfttable.Element) bool {
	s := Spec().Set(x.Set)
	xf, _ := s.Parts(x.From)
	xt, _ := s.Parts(x.To)
	yf, _ := s.Parts(y.From)
	yt, _ := s.Parts(y.To)
	for i := range xf {
		if string(xt[i]) < string(yf[i]) || string(yt[i]) < string(xf[i]) {
			return false
		}
	}
	return true
}

// A pod's address was another pod's before, when the node had other networks: the
// intervals are those of now, and stay when the other one's elements go.
func TestAddressOfAPodThatIsGone(t *testing.T) {
	gone := web("gone", ports(on(v4, "", tcp, 9, 9)))
	gone.Networks = []netip.Prefix{prefix("192.0.2.0/25"), prefix("10.88.0.0/16")}
	now := web("web")
	got := absent().With(gone).With(now)
	if lost := got.Missing(now); len(lost) > 0 {
		t.Errorf("lost: %q", lost)
	}
	rest := got.Without(gone.Owner.Key())
	if _, has := rest.Recover(gone.Owner.Key()); has {
		t.Error("something of the one that is gone is left")
	}
	same(t, "left", absent().With(now), rest)
}

// WithAll is With for one after the other: who comes first has what both want.
func TestWithAll(t *testing.T) {
	other := web("other", ports(on(v4, "", tcp, 9, 9), on(v4, "", tcp, 8083, 80)))
	dead := web("dead", ports(on(v4, "", tcp, 8082, 80)))
	former := web("b", ports(on(v4, "", tcp, 7, 7)))
	have := absent().With(other).With(dead).With(former)
	as := []hostport.Attachment{
		web("a", ports(on(v4, "", tcp, 8080, 80), on(v6, "", tcp, 8080, 80)), func(a *hostport.Attachment) { a.ConditionsV4 = []string{"ip saddr 192.0.2.2"} }),
		web("b", ports(on(v4, "", tcp, 8080, 80), on(v6, "", tcp, 8080, 81), on(v4, "", tcp, 8082, 80))),
		web("c", ports(on(v4, "192.0.2.1", udp, 8080, 80), on(v4, "", tcp, 8083, 80), on(v6, "", tcp, 8080, 82))),
		web("d", ports(on(v4, "", tcp, 8083, 80))),
	}
	want := have.Without(dead.Owner.Key())
	for i := range as {
		as[i].Pods = []netip.Prefix{prefix(fmt.Sprintf("10.88.1.%d/16", i)), prefix(fmt.Sprintf("fd00:88::1:%d/64", i))}
		want = want.With(as[i])
	}
	same(t, "all at once", want, have.WithAll(as, dead.Owner.Key()))
	same(t, "nobody", have.Without(dead.Owner.Key()), have.WithAll(nil, dead.Owner.Key()))
}
