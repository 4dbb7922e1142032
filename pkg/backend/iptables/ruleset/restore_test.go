// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/fakeiptables"
	"github.com/portguard/portguard/pkg/iptsave"
)

// fake is a kernel.
type fake fakeiptables.Kernel

func newFake() fake { return fake(fakeiptables.New()) }

func isBase(chain string) bool { return fakeiptables.IsBase(chain) }

func targetOf(rule string) string { return fakeiptables.TargetOf(rule) }

func (k fake) save() string { return fakeiptables.Kernel(k).Save() }

func (k fake) run(script string) error { return fakeiptables.Kernel(k).Restore(script) }

// layout reads what is ours.
func (k fake) layout(t testing.TB, f hostport.Family) *Layout {
	t.Helper()
	l, err := parse(k.save(), f)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (k fake) parse() (*Layout, error) { return parse(k.save(), v4) }

func parse(text string, f hostport.Family) (*Layout, error) {
	d, err := iptsave.Parse(text)
	if err != nil {
		return nil, err
	}
	nat, err := d.Table("nat")
	return FromSave(nat, f), err
}

// apply runs a plan.
func (k fake) apply(t testing.TB, script string) {
	t.Helper()
	if err := k.run(script); err != nil {
		t.Fatalf("%v\nof plan\n%s", err, script)
	}
}

// put applies an attachment and returns the plan.
func (k fake) put(t testing.TB, f hostport.Family, a hostport.Attachment, sets []Set, instead ...string) string {
	t.Helper()
	have := k.layout(t, f)
	plan := Diff(have, have.Remove(instead...).Put(sets, a))
	k.apply(t, plan)
	return plan
}

func (k fake) remove(t testing.TB, f hostport.Family, keys ...string) {
	t.Helper()
	have := k.layout(t, f)
	k.apply(t, Diff(have, have.Remove(keys...)))
}

func mapping(f hostport.Family, ip string, p hostport.Proto, port, to uint16) hostport.Mapping {
	m := hostport.Mapping{Family: f, Proto: p, HostPort: port, ContainerPort: to}
	if ip != "" {
		m.HostIP = netip.MustParseAddr(ip)
	}
	return m
}

// dualStack is an attachment with all that an attachment can have.
func dualStack() hostport.Attachment {
	return hostport.Attachment{
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")},
		Owner:    hostport.Owner{Network: "cbr0", ContainerID: "0123456789abcdef", IfName: "eth0"},
		Pods:     []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("fd00::2/64")},
		Mappings: []hostport.Mapping{
			mapping(4, "", hostport.TCP, 80, 8080), mapping(6, "", hostport.TCP, 80, 8080),
			mapping(4, "192.0.2.1", hostport.UDP, 53, 5353), mapping(6, "2001:db8::1", hostport.SCTP, 99, 100),
		},
		Carves:   []hostport.Carve{{Addr: netip.MustParseAddr("127.0.0.1"), Proto: hostport.TCP, Port: 80}},
		Flows:    []hostport.Flow{{Local: netip.MustParseAddrPort("192.0.2.1:53"), Peer: netip.MustParseAddrPort("192.0.2.9:5300")}},
		Excludes: []netip.Prefix{netip.MustParsePrefix("192.0.2.64/26"), netip.MustParsePrefix("10.96.0.10/32"), netip.MustParsePrefix("2001:db8:1::/48")},
		SNAT:     true, Localhost: true, Link: "veth1",
		ConditionsV4: []string{"!", "-s", "198.51.100.0/24"},
	}
}

// simple maps port 80+n of IPv4.
func simple(id, link string, port uint16) hostport.Attachment {
	return hostport.Attachment{
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")},
		Owner:    hostport.Owner{Network: "n", ContainerID: id, IfName: "eth0"}, Pods: []netip.Prefix{netip.MustParsePrefix("10.1.0.9/24")},
		Mappings: []hostport.Mapping{mapping(4, "", hostport.TCP, port, 80)}, SNAT: true, Localhost: link != "", Link: link,
	}
}
