// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/walk"
	"github.com/portguard/portguard/pkg/way"
)

func sound() Conflist {
	return Conflist{File: "10-a.conflist", Types: []string{"bridge", "portguard"}, Capable: true}
}

// fit are the facts of a node without a finding but infos.
func fit() Facts {
	return Facts{ConfDir: "/etc/cni/net.d", Lists: []Conflist{sound()}, Backend: "nftables", EphemeralFrom: 32768, EphemeralTo: 60999}
}

func has(es ...inventory.Entry) inventory.List { return inventory.List{HostPorts: es} }

func entryOf(state inventory.State, by string, port uint16, address string) inventory.Entry {
	return inventory.Entry{By: by, Address: netip.MustParseAddr(address), Port: port, Protocol: hostport.TCP, Pod: "default/web", State: state, Reason: "because"}
}

// addresses are those of a node on which one backend has mappings of IPv4, with the link
// that carries one for others.
func addresses(backend string, within addrset.Set, local ...string) (out Addresses) {
	for _, l := range local {
		p, link, _ := strings.Cut(l, " ")
		out.Local = append(out.Local, hostport.Local{Prefix: netip.MustParsePrefix(p), Infrastructure: link})
	}
	out.Reach = []Reach{{Backend: backend, Family: hostport.IPv4, Within: within}}
	return out
}

func singles(all ...string) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestDiagnose(t *testing.T) {
	for _, tt := range []struct {
		name  string
		make  func(*Facts)
		want  []string
		isFit bool
	}{
		{"nothing is wrong", func(*Facts) {}, nil, true},
		{"the directory cannot be read", func(f *Facts) { f.ConfErr = errors.New("no") }, []string{"conflist warning"}, true},
		{"it is empty", func(f *Facts) { f.Lists = nil }, []string{"conflist problem"}, false},
		{"a file cannot be loaded", func(f *Facts) { f.Lists = append(f.Lists, Conflist{File: "x", Err: errors.New("no")}) }, []string{"conflist warning"}, true},
		{"no file names portguard", func(f *Facts) { f.Lists[0].Types = []string{"bridge"} }, []string{"conflist problem"}, false},
		{"it is not in the first", func(f *Facts) { f.Lists = []Conflist{{File: "0", Types: []string{"x"}}, sound()} }, []string{"conflist warning"}, true},
		{"the one before it cannot be loaded", func(f *Facts) { f.Lists = []Conflist{{File: "0", Err: errors.New("no")}, sound()} }, []string{"conflist warning"}, true},
		{"it is in a later one too", func(f *Facts) { f.Lists = []Conflist{sound(), sound()} }, nil, true},
		{"it is the first plugin", func(f *Facts) { f.Lists[0].Types = []string{"portguard"} }, []string{"conflist problem"}, false},
		{"its configuration is refused", func(f *Facts) { f.Lists[0].Invalid = errors.New("no") }, []string{"conflist problem"}, false},
		{"it has keys that nobody knows", func(f *Facts) { f.Lists[0].Unknown = []string{"protectedPort", "x"} }, []string{"conflist warning", "conflist warning"}, true},
		{"it has no capability", func(f *Facts) { f.Lists[0].Capable = false }, []string{"capability problem"}, false},
		{"portmap stands beside it", func(f *Facts) { f.Lists[0].Types = []string{"bridge", "portmap", "portguard"} }, []string{"implementers problem"}, false},
		{"CRI-O maps", func(f *Facts) { f.Proxies.CRIO = true }, []string{"implementers problem"}, false},
		{"portmap has mappings", func(f *Facts) { f.List = has(entryOf(inventory.OK, "portmap", 80, "0.0.0.0")) }, []string{"implementers warning"}, true},
		{"no backend works", func(f *Facts) { f.BackendErr = errors.New("no") }, []string{"backend problem"}, false},
		{"two proxies do not matter to nftables", func(f *Facts) { f.Proxies.KubeProxy = []string{"nft", "legacy"} }, []string{"flavours warning"}, true},
		{"they do to iptables", func(f *Facts) { f.Proxies.KubeProxy, f.Backend = []string{"nft", "legacy"}, "iptables-nft" }, []string{"flavours problem"}, false},
		{"records cannot be written", func(f *Facts) { f.StateErr = errors.New("no") }, []string{"state problem"}, false},
		{"anybody may write them", func(f *Facts) { f.StateLoose = "x" }, []string{"state warning"}, true},
		{"anybody may write them, and there is no room", func(f *Facts) { f.StateLoose, f.StateErr = "x", errors.New("no") }, []string{"state warning", "state problem"}, false},
		{"nftables takes the traffic of ipvs", func(f *Facts) {
			e := entryOf(inventory.OK, "portguard", 80, "0.0.0.0")
			e.Backend = "nftables"
			f.Proxies.IPVS, f.List = true, has(e)
		}, []string{"order problem"}, false},
		{"a link of Services came later", func(f *Facts) {
			f.Addresses = addresses("nftables", addrset.All(true), "192.0.2.1/32", "10.96.0.1/32 kube-dummy-if", "10.96.0.2/32 kube-dummy-if", "fd00::1/128 kube-dummy-if")
		}, []string{"not-own problem"}, false},
		{"nobody is mapped in that family", func(f *Facts) {
			f.Addresses = addresses("nftables", addrset.All(true), "fd00::1/128 kube-dummy-if", "fe80::1/128 kube-dummy-if")
		}, nil, true},
		{"an address waits for the next call", func(f *Facts) {
			f.Addresses = addresses("iptables-nft", addrset.Of(netip.MustParsePrefix("192.0.2.1/32")), "192.0.2.1/32", "192.0.2.2/32", "10.96.0.1/32 kube-dummy-if")
		}, []string{"not-own warning"}, true},
		{"an ipset follows those of ipvs", func(f *Facts) {
			f.Addresses = addresses("iptables-nft", addrset.All(true), "192.0.2.1/32", "10.96.0.1/32 kube-ipvs0")
			f.Addresses.Reach[0].SparesServices = true
		}, nil, true},
		{"no ipset does", func(f *Facts) {
			f.Addresses = addresses("iptables-nft", addrset.All(true), "10.96.0.1/32 kube-ipvs0")
		}, []string{"not-own problem"}, false},
		{"a link has many single addresses", func(f *Facts) {
			f.Addresses.Virtual = []Virtual{{"dummy0", singles("10.96.0.1", "10.96.0.2")}, {"lb1", singles("10.96.0.1", "10.96.0.2", "fd00::1", "fd00::2")}}
		}, []string{"virtual-link warning"}, true},
		{"mappings in iptables are level with kube-proxy in nftables mode", func(f *Facts) {
			e := entryOf(inventory.OK, "portguard", 80, "0.0.0.0")
			e.Backend = "iptables-nft"
			f.Proxies.Native, f.List = true, has(e, e)
		}, []string{"order warning"}, true},
		{"the next ones would be", func(f *Facts) { f.Proxies.Native, f.Backend = true, "iptables-legacy" }, []string{"order warning"}, true},
		{"in nftables they are behind it", func(f *Facts) { f.Proxies.Native = true }, nil, true},
		{"a jump is misplaced", func(f *Facts) { f.Misplaced = []string{"jump"} }, []string{"order problem"}, false},
		{"a stranger has the table's name", func(f *Facts) { f.Stranger = "inet portguard" }, []string{"order problem"}, false},
		{"a mapping is shadowed", func(f *Facts) { f.List = has(entryOf(inventory.Shadowed, "portguard", 80, "0.0.0.0")) }, []string{"shadowed problem"}, false},
		{"a mapping is missing", func(f *Facts) { f.List = has(entryOf(inventory.Missing, "portguard", 80, "0.0.0.0")) }, []string{"missing problem"}, false},
		{"the dead are said once an owner", func(f *Facts) {
			f.List = has(entryOf(inventory.Dead, "portguard", 80, "0.0.0.0"), entryOf(inventory.Dead, "portguard", 80, "::"))
		}, []string{"dead-owner warning"}, true},
		{"IPv4 is not forwarded", func(f *Facts) { f.NoForwarding = []hostport.Family{hostport.IPv4} }, []string{"forwarding problem"}, false},
		{"IPv6 is not, and nobody needs it", func(f *Facts) { f.NoForwarding = []hostport.Family{hostport.IPv6} }, nil, true},
		{"IPv6 is not, and a pod has it", func(f *Facts) {
			f.NoForwarding, f.List = []hostport.Family{hostport.IPv6}, has(entryOf(inventory.OK, "portguard", 80, "::"))
		}, []string{"forwarding problem"}, false},
		{"a mapping waits for its address", func(f *Facts) { f.List = has(entryOf(inventory.Absent, "portguard", 80, "192.0.2.9")) }, []string{"address warning"}, true},
		{"a pod has what is protected now, in both families", func(f *Facts) {
			f.Protected, f.List = []hostport.Ports{{From: 80, To: 80}}, has(entryOf(inventory.OK, "portguard", 80, "0.0.0.0"), entryOf(inventory.OK, "portguard", 80, "::"))
		}, []string{"protected warning"}, true},
		{"it is protected in another network", func(f *Facts) {
			f.Protected, f.Network, f.List = []hostport.Ports{{From: 80, To: 80}}, "other", has(entryOf(inventory.OK, "portguard", 80, "0.0.0.0"))
		}, nil, true},
		{"a port is ephemeral, in both families", func(f *Facts) {
			f.List = has(entryOf(inventory.OK, "portguard", 40000, "0.0.0.0"), entryOf(inventory.OK, "portguard", 40000, "::"))
		}, []string{"ephemeral warning"}, true},
		{"it is reserved", func(f *Facts) {
			f.List, f.Reserved = has(entryOf(inventory.OK, "portguard", 40000, "0.0.0.0")), [][2]uint16{{39999, 40001}}
		}, nil, true},
		{"the records are on a disk", func(f *Facts) { f.StateDisk = "ext4" }, []string{"state warning"}, true},
		{"something is unreadable", func(f *Facts) { f.List.Notes = []string{"no"} }, []string{"unreadable problem"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fit()
			tt.make(&f)
			found := Diagnose(f)
			var got []string
			for _, x := range found {
				if x.Severity == Info {
					continue
				}
				got = append(got, x.Check+" "+string(x.Severity))
				if x.Remedy == "" || strings.ContainsAny(x.Message+x.Remedy, "\n") {
					t.Errorf("no remedy, or two lines: %+v", x)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || Fit(found) != tt.isFit {
				t.Errorf("fit %v (-want +got)\n%s", Fit(found), diff)
			}
		})
	}
}

func TestFlavoursAreNamed(t *testing.T) {
	f := fit()
	f.Proxies = Proxies{Flavours: []string{"nft"}, KubeProxy: []string{"nft"}, Native: true, IPVS: true, Hint: "nft"}
	found := Diagnose(f)
	want := "iptables rules in: nft; kube-proxy in: iptables-nft, nftables, ipvs; the kubelet's hint is iptables-nft"
	if !slices.ContainsFunc(found, func(f Finding) bool { return f.Message == want }) {
		t.Errorf("got %+v", found)
	}
}

// byLinks is an entry to which packets come by links, each from its own network and from
// beyond it. A letter says of both what closes the way: a filter, rp_filter, or nothing.
func byLinks(closed ...string) inventory.Entry {
	state := inventory.OK
	if !strings.Contains(strings.Join(closed, ""), "-") {
		state = inventory.Closed
	}
	e := entryOf(state, "portguard", 80, "0.0.0.0")
	closures := map[rune]*way.Closure{'f': {Check: way.CheckFilter, What: "a filter", Remedy: "open"}, 'r': {Check: way.CheckReverse, What: "rp_filter", Remedy: "loosen"}}
	for i, of := range closed {
		for n, c := range of {
			e.Ways = append(e.Ways, way.Way{Source: way.Source{Link: walk.Link{Name: fmt.Sprintf("eth%d", i), Index: i + 2}, Beyond: n == 1}, Closed: closures[c]})
		}
	}
	return e
}

func TestWays(t *testing.T) {
	for _, tt := range []struct {
		name   string
		closed []string
		want   []Severity
	}{
		{"all are open", []string{"--", "-"}, nil},
		{"the only link is closed", []string{"ff"}, []Severity{Problem}},
		{"both are, by the same", []string{"ff", "f"}, []Severity{Problem}},
		{"both are, by different things", []string{"ff", "r"}, []Severity{Problem, Problem}},
		{"the one to the Internet is", []string{"rr", "-"}, []Severity{Problem}},
		{"another one is", []string{"--", "r"}, []Severity{Warning}},
		{"a firewall lets neighbours in", []string{"-f"}, []Severity{Info}},
		{"rp_filter does", []string{"-r"}, []Severity{Warning}},
	} {
		f := fit()
		f.List = has(byLinks(tt.closed...), byLinks(tt.closed...))
		var got []Severity
		ways(f, func(_ string, s Severity, message, _ string) {
			got = append(got, s)
			if !strings.Contains(message, "hostPort 80/tcp (IPv4) of pod default/web: packets by eth") {
				t.Errorf("%s: %q", tt.name, message)
			}
		})
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, diff)
		}
	}
}

// What an ADD held that was killed is told once for both families, with the remedy.
func TestForsaken(t *testing.T) {
	f := fit()
	for _, fam := range hostport.Families() {
		f.Forsaken = append(f.Forsaken, hostport.Mapping{Family: fam, Proto: hostport.TCP, HostPort: 80})
	}
	told := slices.DeleteFunc(Diagnose(f), func(f Finding) bool { return f.Check != "reservation" || f.Severity != Warning })
	if len(told) != 1 || !strings.HasPrefix(told[0].Message, "hostPort 80/tcp is held for no pod") || told[0].Remedy != "portguard gc" {
		t.Errorf("%+v", told)
	}
}

// Neighbouring addresses are one span, and each is named.
func TestLateAddressesAreNamed(t *testing.T) {
	a := addresses("nftables", addrset.Of(netip.MustParsePrefix("192.0.2.1/32")), "192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "198.51.100.0/24", "198.51.100.1/32")
	var got []string
	for _, ip := range a.Reach[0].late(a.Local) {
		got = append(got, ip.String())
	}
	if want := []string{"192.0.2.2", "192.0.2.3", "198.51.100.0"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
