// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portguard/portguard/pkg/hostport"
	messages "github.com/portguard/portguard/pkg/internal/golden"
)

const v4 = hostport.IPv4

func compare() cmp.Option {
	return cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})
}

func TestClaimsAreTheMappings(t *testing.T) {
	a := dualStack()
	for _, f := range hostport.Families() {
		k := newFake()
		k.put(t, f, a, nil)
		l := k.layout(t, f)
		var got []hostport.Mapping
		for _, c := range l.Claims() {
			if c.Owner != a.Owner || c.Key != a.Owner.Key() || c.Life != hostport.Alive {
				t.Errorf("%s: claim is %+v", f, c)
			}
			got = append(got, c.Mapping)
		}
		less := func(x, y hostport.Mapping) bool { return x.HostPort < y.HostPort }
		if diff := cmp.Diff(a.Of(f), got, compare(), cmpopts.SortSlices(less)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", f, diff)
		}
		if !l.Has(a.Owner.Key()) || l.Has("none") || len(l.chains) == 0 {
			t.Errorf("%s: attachment is not there", f)
		}
	}
}

// Whatever an attachment is, its rules tell it, but for the words of its conditions.
func TestRecover(t *testing.T) {
	for name, change := range map[string]func(*hostport.Attachment){
		"all of it":         func(*hostport.Attachment) {},
		"no conditions":     func(a *hostport.Attachment) { a.ConditionsV4 = nil },
		"without localhost": func(a *hostport.Attachment) { a.Localhost, a.Link = false, "" },
		"masqAll":           func(a *hostport.Attachment) { a.SNAT, a.MasqAll = false, true },
	} {
		for _, f := range hostport.Families() {
			a, k := dualStack(), newFake()
			change(&a)
			k.put(t, f, a, nil)
			got, ok := k.layout(t, f).Recover(a.Owner.Key())
			if !ok || len(got.Networks) == 0 {
				t.Fatalf("%s: %v, networks %v", name, ok, got.Networks)
			}
			want := a
			mine := func(p netip.Prefix) bool { return hostport.FamilyOf(p.Addr()) != f }
			want.Mappings, got.Networks = a.Of(f), a.Networks
			slices.SortFunc(got.Mappings, func(x, y hostport.Mapping) int { return int(y.HostPort) - int(x.HostPort) })
			slices.SortFunc(want.Mappings, func(x, y hostport.Mapping) int { return int(y.HostPort) - int(x.HostPort) })
			want.Pods, want.Excludes = slices.DeleteFunc(slices.Clone(a.Pods), mine), slices.DeleteFunc(slices.Clone(a.Excludes), mine)
			want.ConditionsV4 = nil
			if f == hostport.IPv6 {
				want.Carves, want.Flows, want.Localhost, want.Link = nil, nil, false, ""
			}
			if a.MasqAll { // the rules need not name the pod's network then
				want.Pods = []netip.Prefix{netip.PrefixFrom(want.Pods[0].Addr(), f.Bits())}
			}
			if diff := cmp.Diff(want, got, compare()); diff != "" {
				t.Errorf("%s, %s (-want +got)\n%s", name, f, diff)
			}
		}
	}
	if a, ok := newFake().layout(t, v4).Recover(dualStack().Owner.Key()); ok {
		t.Errorf("of nothing: %+v", a)
	}
}

func TestCheckReportsEachLoss(t *testing.T) {
	a := dualStack()
	a.ConditionsV4 = nil
	key := a.Owner.Key()
	drop := func(table, chain string, i int) func(fake) {
		return func(k fake) { k[table][chain] = slices.Delete(slices.Clone(k[table][chain]), i, i+1) }
	}
	said := messages.New(t)
	said.Section("what CHECK finds lost in iptables, as the plugin puts it behind whose hostPorts it is")
	for _, tt := range []struct {
		name   string
		damage func(fake)
		says   []string
	}{
		{"nothing is lost", func(fake) {}, nil},
		{"rules of others do not matter", func(k fake) { k.put(t, v4, simple("x", "veth9", 81), nil) }, nil},
		{"other words for one rule do not matter", func(k fake) {
			c := k["nat"]["PGD-"+key]
			c[0] = strings.Replace(c[0], "192.0.2.1/32", "192.0.2.1", 1)
		}, nil},
		{"the jump from PREROUTING", drop("nat", "PREROUTING", 0), []string{"IPv4 table nat: the jump from PREROUTING to PORTGUARD-INCOMING is missing"}},
		{"the jump from OUTPUT", drop("nat", "OUTPUT", 0), []string{"the jump from OUTPUT to PORTGUARD-HOSTPORTS is missing"}},
		{"the jump from POSTROUTING", drop("nat", "POSTROUTING", 0), []string{"the jump from POSTROUTING to PORTGUARD-MASQ is missing"}},
		{"a jump in the shared chain", drop("nat", hostports, 0), []string{`chain PORTGUARD-HOSTPORTS lacks the rule "-p tcp`}},
		{"the jump in the shared masquerade chain", drop("nat", masq, 0), []string{`chain PORTGUARD-MASQ lacks the rule "-d 10.1.0.2/32`}},
		{"the rule that keeps the node's connections", drop("nat", incoming, 0), []string{"chain PORTGUARD-INCOMING lacks the rule"}},
		{"the jump to the hostPorts", drop("nat", incoming, 1), []string{"chain PORTGUARD-INCOMING lacks the rule"}},
		{"a kernel that cannot look for sockets", func(k fake) { k["nat"][incoming][0] = strings.Replace(k["nat"][incoming][0], " -m socket", "", 1) }, nil},
		{"what is left to a connected socket", drop("nat", "PGD-"+key, 0), []string{"chain PGD-" + key + ` lacks the rule "-s 192.0.2.9/32`}},
		{"a DNAT rule", drop("nat", "PGD-"+key, 1), []string{"chain PGD-" + key + ` lacks the rule "-d 192.0.2.1/32`}},
		{"a masquerade rule", drop("nat", "PGM-"+key, 1), []string{"chain PGM-" + key + " lacks the rule"}},
		{"a whole chain", func(k fake) { delete(k["nat"], "PGM-"+key) }, []string{"chain PGM-" + key + " is missing"}},
		{"the order of its rules", func(k fake) { slices.Reverse(k["nat"]["PGD-"+key]) }, []string{"chain PGD-" + key + " has its rules in another order"}},
		{"a rule too much", func(k fake) {
			k["nat"]["PGD-"+key] = append(k["nat"]["PGD-"+key], "-j RETURN")
		}, []string{"chain PGD-" + key + " has 8 rules, not 7"}},
		{"a rule of somebody else in a shared chain", func(k fake) {
			k["nat"][hostports] = append(k["nat"][hostports], "-j ACCEPT")
		}, []string{`chain PORTGUARD-HOSTPORTS holds somebody else's rule "-j ACCEPT"`}},
		{"a changed target", func(k fake) {
			c := k["nat"]["PGD-"+key]
			c[1] = strings.Replace(c[1], ":5353", ":5354", 1)
		}, []string{"lacks the rule"}},
		{"a jump before KUBE-SERVICES", func(k fake) {
			k["nat"]["KUBE-SERVICES"] = nil
			k["nat"]["OUTPUT"] = append(k["nat"]["OUTPUT"], "-j KUBE-SERVICES")
		}, []string{"the jump from OUTPUT to PORTGUARD-HOSTPORTS stands before KUBE-SERVICES"}},
		{"a masquerade jump behind ACCEPT", func(k fake) {
			k["nat"]["POSTROUTING"] = slices.Insert(k["nat"]["POSTROUTING"], 0, "-j ACCEPT")
		}, []string{"the jump from POSTROUTING to PORTGUARD-MASQ stands behind a rule that ends the walk"}},
		{"everything", wipe, []string{
			"chain PGD-" + key + " is missing", "chain PGM-" + key + " is missing", "chain PORTGUARD-HOSTPORTS is missing", "chain PORTGUARD-INCOMING is missing", "chain PORTGUARD-MASQ is missing",
			"from PREROUTING to PORTGUARD-INCOMING is missing", "from OUTPUT to PORTGUARD-HOSTPORTS is missing", "from POSTROUTING to PORTGUARD-MASQ is missing",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newFake()
			k.put(t, v4, a, nil)
			tt.damage(k)
			lost := k.layout(t, v4).Check(a, nil)
			if len(lost) != len(tt.says) {
				t.Fatalf("lost %q, want %q", lost, tt.says)
			}
			for i, s := range tt.says {
				said.Add("110", lost[i])
				if !strings.Contains(lost[i], s) {
					t.Errorf("lost %q, want %q", lost[i], s)
				}
			}
		})
	}
	said.Check(*update)
}

// wipe empties a kernel in place.
func wipe(k fake) { maps.Copy(k, newFake()) }

// iptables may write a user's conditions in other words.
func TestCheckForgivesOtherWordsForConditions(t *testing.T) {
	a, k := dualStack(), newFake()
	a.ConditionsV4 = []string{"-s", "example", "-m", "tcp", "--sport", "http"}
	k.put(t, v4, a, nil)
	cond := condPrefix + a.Owner.Key()
	for i, r := range k["nat"][cond] {
		k["nat"][cond][i] = strings.NewReplacer("example", "192.0.2.7/32", "http", "80").Replace(r)
	}
	if lost := k.layout(t, v4).Check(a, nil); len(lost) > 0 {
		t.Errorf("lost %q", lost)
	}
	k["nat"][cond][0] = strings.Replace(k["nat"][cond][0], "--dports 80", "--dports 81", 1)
	if lost := k.layout(t, v4).Check(a, nil); len(lost) != 1 {
		t.Errorf("lost %q, want the tcp rule", lost)
	}
}

func TestOurJumpMovesBehindKubeServices(t *testing.T) {
	k := newFake()
	k.put(t, v4, simple("a", "", 80), nil)
	k["nat"]["KUBE-SERVICES"] = nil
	for _, c := range []string{"PREROUTING", "OUTPUT"} {
		k["nat"][c] = append(k["nat"][c], "-j KUBE-SERVICES", "-p udp -j ACCEPT")
	}
	k.put(t, v4, simple("b", "", 81), nil)
	for c, ours := range map[string]string{"PREROUTING": incoming, "OUTPUT": hostports} {
		var got []string
		for _, r := range k["nat"][c] {
			got = append(got, targetOf(r))
		}
		if diff := cmp.Diff([]string{"KUBE-SERVICES", "ACCEPT", ours}, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c, diff)
		}
	}
}

func TestMasqueradeMovesToTheHead(t *testing.T) {
	for _, first := range []string{"-j ACCEPT", "-s 10.1.0.2/32 -j CNI-0123", "-j MASQUERADE"} {
		k := newFake()
		k["nat"]["CNI-0123"] = nil
		k.put(t, v4, simple("a", "", 80), nil)
		k["nat"]["POSTROUTING"] = slices.Insert(k["nat"]["POSTROUTING"], 0, first)
		k.put(t, v4, simple("b", "", 81), nil)
		if got := targetOf(k["nat"]["POSTROUTING"][0]); got != masq || len(k["nat"]["POSTROUTING"]) != 2 {
			t.Errorf("behind %q: %q", first, k["nat"]["POSTROUTING"])
		}
	}
}

// docker masquerades its own network at the head of the chain: not our packets.
func TestMasqueradeOfOtherSourcesMayComeFirst(t *testing.T) {
	k := newFake()
	k.put(t, v4, simple("a", "", 80), nil)
	k["nat"]["POSTROUTING"] = slices.Insert(k["nat"]["POSTROUTING"], 0, "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE")
	if lost := k.layout(t, v4).Check(simple("a", "", 80), nil); len(lost) > 0 {
		t.Errorf("CHECK: %q", lost)
	}
	k.put(t, v4, simple("b", "", 81), nil)
	if got := targetOf(k["nat"]["POSTROUTING"][0]); got != "MASQUERADE" {
		t.Errorf("ours moved: %q", k["nat"]["POSTROUTING"])
	}
}

// Nor are they with so many networks that one jump serves all.
func TestMasqueradeOfManyNetworks(t *testing.T) {
	k := newFake()
	var last hostport.Attachment
	for i := range 2 * mostNear {
		last = simple(fmt.Sprint(i), "", uint16(80+i))
		last.Pods = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 2)}), 32)}
		k.put(t, v4, last, nil)
	}
	docker := "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"
	for _, first := range []string{docker, "-s 10.1.0.3/32 -j CNI-0123"} {
		rules := k["nat"]["POSTROUTING"]
		k["nat"]["CNI-0123"] = nil
		k["nat"]["POSTROUTING"] = slices.Insert(slices.Clone(rules), 0, first)
		if _, got := k.layout(t, v4).Misplaced(); (len(got) > 0) != (first != docker) {
			t.Errorf("behind %q: %q", first, got)
		}
		next := simple("next", "", 99)
		next.Pods = []netip.Prefix{netip.MustParsePrefix("10.1.0.99/32")}
		have := k.layout(t, v4)
		if got := have.Put(nil, next).jumps["POSTROUTING"]; first == docker && (len(got) != 1 || got[0].index != 1) {
			t.Errorf("an ADD moves ours: %+v", got)
		}
		k["nat"]["POSTROUTING"] = rules
	}
}

func TestADoubledJumpBecomesOne(t *testing.T) {
	k := newFake()
	k.put(t, v4, simple("a", "", 80), nil)
	k["nat"]["OUTPUT"] = append(k["nat"]["OUTPUT"], k["nat"]["OUTPUT"]...)
	k.put(t, v4, simple("a", "", 80), nil)
	if len(k["nat"]["OUTPUT"]) != 1 {
		t.Errorf("OUTPUT is %q", k["nat"]["OUTPUT"])
	}
}
