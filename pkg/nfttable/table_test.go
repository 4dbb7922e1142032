// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
	"github.com/portguard/portguard/pkg/nft"
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

func ports(ms ...hostport.Mapping) func(*hostport.Attachment) {
	return func(a *hostport.Attachment) { a.Mappings = ms }
}

func shapes() map[string]hostport.Attachment {
	return map[string]hostport.Attachment{
		"dual-stack": web("web"),
		"host-ip":    web("web", ports(on(v4, "192.0.2.1", tcp, 80, 8080), on(v6, "2001:db8:2::1", udp, 53, 53), on(v4, "127.0.0.1", udp, 53, 53))),
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
				a.Carves = []hostport.Carve{{Addr: localhost(), Proto: tcp, Port: 80}}
			}),
		"only-v6": web("web", ports(on(v6, "", tcp, 8080, 80)), func(a *hostport.Attachment) { a.Pods = a.Pods[1:]; a.Localhost = false }),
	}
}

// The text of each shape of an attachment is as reviewed. Whether nft prints the
// same is asked of the kernel in package integration.
func TestGolden(t *testing.T) {
	for name, a := range shapes() {
		t.Run(name, func(t *testing.T) {
			got := Absent().Put(a, false).Text()
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

// Put and Remove of each shape lead back, and nobody else's elements are touched.
func TestRemoveIsExact(t *testing.T) {
	other := web("other", ports(on(v4, "", udp, 9, 9), on(v4, "192.0.2.1", tcp, 9, 9)))
	other.Pods = []netip.Prefix{prefix("10.88.0.6/16")} // an address is one pod's
	for name, a := range shapes() {
		for from, before := range map[string]*Table{"from nothing": Absent(), "beside another": Absent().Put(other, true)} {
			after := before.Put(a, false).Remove(a.Owner.Key())
			if d := cmp.Diff(before.Text(), after.Text()); d != "" {
				t.Errorf("%s %s (-before +after)\n%s", name, from, d)
			}
			if lost := before.Put(a, false).Check(a); len(lost) > 0 && name != "conditions" {
				t.Errorf("%s %s: %v", name, from, lost)
			}
			if d := cmp.Diff(before.Put(a, false).Text(), before.Put(a, false).Put(a, true).Text()); d != "" {
				t.Errorf("%s %s: a second Put changes something\n%s", name, from, d)
			}
		}
	}
}

// The guard of a link stays as long as somebody needs it, and remembers.
func TestGuard(t *testing.T) {
	one, two := web("one"), web("two", ports(on(v4, "", tcp, 81, 80)))
	both := Absent().Put(one, true).Put(two, false)
	if d := cmp.Diff(map[string]bool{"cni0": true}, both.Guarded()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]bool{"cni0": true}, both.Remove(one.Owner.Key()).Guarded()); d != "" {
		t.Error(d)
	}
	if left := both.Remove(one.Owner.Key(), two.Owner.Key()); left.There || len(left.elements) > 0 {
		t.Errorf("left: %s", left.Text())
	}
	if g := Absent().Put(one, false).Guarded(); g["cni0"] {
		t.Error("the guard does not remember that route_localnet was off")
	}
}

// What an attachment maps can be read from the elements alone.
func TestClaims(t *testing.T) {
	a := web("web", ports(on(v4, "", tcp, 8080, 80), on(v6, "", udp, 53, 5353), on(v4, "192.0.2.1", tcp, 90, 91), on(v6, "2001:db8:2::1", tcp, 90, 91)),
		func(a *hostport.Attachment) {
			a.Excludes = []netip.Prefix{prefix("10.0.0.0/13")}
			a.Carves = []hostport.Carve{{Addr: addr("192.0.2.7"), Proto: tcp, Port: 8080}}
		})
	table := Absent().Put(a, false)
	var got []hostport.Mapping
	for _, c := range table.Claims() {
		if c.Key != a.Owner.Key() || !c.Owner.Same(a.Owner) {
			t.Errorf("owner is %+v, key %s", c.Owner, c.Key)
		}
		got = append(got, c.Mapping)
	}
	if len(got) != len(a.Mappings) || slices.ContainsFunc(a.Mappings, func(m hostport.Mapping) bool { return !slices.Contains(got, m) }) {
		t.Errorf("mappings are %v, want %v", got, a.Mappings)
	}
	if d := cmp.Diff([]netip.Addr{addr("10.88.0.5"), addr("fd00:88::5")}, table.Targets(a.Owner.Key()), cmp.Comparer(func(x, y netip.Addr) bool { return x == y })); d != "" {
		t.Errorf("targets %s", d)
	}
	bare := a
	bare.Carves, bare.Excludes, bare.Networks = nil, nil, nil
	if lost := table.Check(table.Seen(bare)); len(lost) > 0 {
		t.Errorf("what the table tells is not what ADD knew: %v", lost)
	}
	if conditional := Absent().Put(shapes()["conditions"], false).Claims(); len(conditional) != 2 || !conditional[0].Mapping.Wildcard() {
		t.Errorf("claims with conditions are %v", conditional)
	}
}

// Intervals of one set never overlap: the kernel would refuse them.
func TestIntervalsDoNotOverlap(t *testing.T) {
	for name, a := range shapes() {
		elems := Elements(a)
		for i, x := range elems {
			for _, y := range elems[:i] {
				if x.Set == y.Set && x.To != "" && overlap(x, y) {
					t.Errorf("%s: %s: %s and %s overlap", name, x.Set, x, y)
				}
			}
		}
	}
}

func overlap(x, y Element) bool {
	s, _ := spec(x.Set)
	xf, _ := s.parts(x.From)
	xt, _ := s.parts(x.To)
	yf, _ := s.parts(y.From)
	yt, _ := s.parts(y.To)
	for i := range xf {
		if string(xt[i]) < string(yf[i]) || string(yt[i]) < string(xf[i]) {
			return false
		}
	}
	return true
}

// CHECK says what is lost.
func TestCheckSaysWhatIsLost(t *testing.T) {
	a := web("web", func(a *hostport.Attachment) { a.ConditionsV6 = []string{"ip6 saddr != 2001:db8::/32"} })
	said := golden.New(t)
	said.Section("what CHECK finds lost in nftables, as the plugin puts it behind whose hostPorts it is")
	for _, tt := range []struct {
		says  string
		spoil func(*Table)
	}{
		{"table inet portguard is missing", func(t *Table) { *t = *Absent() }},
		{"chain guard is not as installed", func(t *Table) { t.Broken = []string{"chain guard"} }},
		{`set ports4 lacks the element "tcp . 8080`, func(t *Table) { drop(t, "ports4") }},
		{`the rule "near 10.88.0.0/16" is missing`, func(t *Table) { delete(t.options, "near 10.88.0.0/16") }},
		{`the rule "conditions6" is missing`, func(t *Table) { delete(t.options, "conditions6") }},
		{"set links lacks the element", func(t *Table) { drop(t, "links") }},
		{"set guarded lacks the element", func(t *Table) { drop(t, "guarded") }},
		{"10.9.9.9", func(t *Table) {
			for k, e := range t.elements {
				if e.Set == "localhost" {
					e.Value = join(addrKey(addr("10.9.9.9")), portKey(80))
					t.elements[k] = e
				}
			}
		}},
		{"is missing", func(t *Table) { clear(t.chains) }},
		{"does not have the rules of ADD", func(t *Table) {
			for name := range t.chains {
				t.chains[name] = Chain{Name: name}
			}
		}},
	} {
		table := asRead(Absent().Put(a, false), a)
		tt.spoil(table)
		lost := table.Check(a)
		if len(lost) != 1 || !strings.Contains(lost[0], tt.says) {
			t.Errorf("lost is %q, want %q", lost, tt.says)
		}
		for _, l := range lost {
			said.Add("110", l)
		}
	}
	said.Section("a table that is not ours")
	_, err := Read(stranger{})
	said.Add("109", err.Error())
	said.Check(*update)
	remembers := asRead(Absent().Put(a, true), a)
	if lost := remembers.Check(a); len(lost) > 0 {
		t.Errorf("a guard that remembers is lost: %v", lost)
	}
}

// asRead gives the chains of a the shapes that the kernel's rules have.
func asRead(t *Table, a hostport.Attachment) *Table {
	for name, c := range t.chains {
		c.Shape = c.shapes(a.Owner.Tag())
		t.chains[name] = c
	}
	return t
}

// A stranger is a table of our name with a set of another kind.
type stranger struct{ Source }

func (stranger) TableFlags(nft.Table) (uint32, bool, error) { return 0, true, nil }

func (stranger) Sets(nft.Table) ([]nft.Set, error) {
	return []nft.Set{{Name: "ports4", KeyLen: 1}}, nil
}

func drop(t *Table, set string) {
	for k, e := range t.elements {
		if e.Set == set {
			delete(t.elements, k)
		}
	}
}

// A pod's address was another pod's before, when the node had other networks: the
// intervals are those of now, and stay when the other one's elements go.
func TestAddressOfAPodThatIsGone(t *testing.T) {
	gone := web("gone", ports(on(v4, "", tcp, 9, 9)))
	gone.Networks = []netip.Prefix{prefix("192.0.2.0/25"), prefix("10.88.0.0/16")}
	now := web("web")
	got := Absent().Put(gone, false).Put(now, false)
	if lost := got.Check(now); len(lost) > 0 {
		t.Errorf("lost: %q", lost)
	}
	rest := got.Remove(gone.Owner.Key())
	if lost := rest.Check(now); len(lost) > 0 || rest.Has(gone.Owner.Key()) {
		t.Errorf("removing the one takes from the other: %q", lost)
	}
	if diff := cmp.Diff(Absent().Put(now, false).Text(), rest.Text()); diff != "" {
		t.Errorf("left (-want +got)\n%s", diff)
	}
}
