// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

func TestTakeOver(t *testing.T) {
	k := newFake()
	dead, other, heir := simple("dead", "veth1", 80), simple("other", "veth2", 81), simple("heir", "veth3", 80)
	k.put(t, v4, dead, nil)
	k.put(t, v4, other, nil)
	k.put(t, v4, heir, nil, dead.Owner.Key())
	l := k.layout(t, v4)
	if l.Has(dead.Owner.Key()) {
		t.Errorf("the dead owner's rules are there:\n%s", k.save())
	}
	var got []string
	for _, c := range l.Claims() {
		got = append(got, c.Owner.ContainerID+" "+c.Mapping.String())
	}
	if len(got) != 2 || strings.Contains(strings.Join(got, "\n"), "dead") {
		t.Errorf("claims are %q", got)
	}
	for _, a := range []hostport.Attachment{other, heir} {
		if lost := l.Check(a, nil); len(lost) > 0 {
			t.Errorf("%s lost %q", a.Owner, lost)
		}
	}
}

func TestPutReplacesTheSameOwner(t *testing.T) {
	k := newFake()
	a := simple("a", "veth1", 80)
	k.put(t, v4, simple("b", "veth1", 90), nil)
	k.put(t, v4, a, nil)
	a.Mappings[0].HostPort = 8000
	k.put(t, v4, a, nil)
	var got []string
	for _, c := range k.layout(t, v4).Claims() {
		if c.Key == a.Owner.Key() {
			got = append(got, c.Mapping.String())
		}
	}
	if diff := cmp.Diff([]string{"8000/tcp"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	a.Mappings = nil
	k.put(t, v4, a, nil)
	if k.layout(t, v4).Has(a.Owner.Key()) {
		t.Error("an attachment without mappings has rules")
	}
}

func TestPutLeavesItsReceiverAlone(t *testing.T) {
	k := foreign()
	k.put(t, v4, simple("a", "veth1", 80), nil)
	l, same := k.layout(t, v4), k.layout(t, v4)
	l.Put(ServiceSets(v4), dualStack())
	l.Remove(simple("a", "veth1", 80).Owner.Key())
	if diff := Diff(same, l); diff != "" {
		t.Errorf("receiver changed:\n%s", diff)
	}
}

// The rules that spare Services stand first, follow the sets that exist, and
// go with the last attachment.
func TestServiceSetsFollowTheNode(t *testing.T) {
	k := newFake()
	for _, step := range []struct {
		id   string
		port uint16
		sets int
		want []string
	}{
		{"a", 80, 0, []string{"PGD-"}},
		{"b", 81, 2, []string{"RETURN", "RETURN", "PGD-", "PGD-"}},
		{"b", 81, 2, []string{"RETURN", "RETURN", "PGD-", "PGD-"}},
		{"c", 82, 4, []string{"RETURN", "RETURN", "RETURN", "RETURN", "PGD-", "PGD-", "PGD-"}},
		{"c", 82, 0, []string{"PGD-", "PGD-", "PGD-"}},
	} {
		k.put(t, v4, simple(step.id, "", step.port), ServiceSets(v4)[:step.sets])
		var got []string
		for _, r := range k["nat"][hostports] {
			to := targetOf(r)
			if strings.HasPrefix(to, dnatPrefix) {
				to = dnatPrefix
			}
			got = append(got, to)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%+v (-want +got)\n%s", step, diff)
		}
	}
}

func TestMasqueradeSources(t *testing.T) {
	for _, tt := range []struct {
		name            string
		snat, all, host bool
		want            []string
	}{
		{"nothing is masqueraded without snat and localhost", false, false, false, nil},
		{"snat masquerades the pod's network", true, false, false, []string{"-s 10.1.0.0/24 -p tcp"}},
		{"localhost masquerades loopback on the link", false, false, true, []string{"-s 127.0.0.0/8 -o veth1 -p tcp"}},
		{"both do both", true, false, true, []string{"-s 10.1.0.0/24 -p tcp", "-s 127.0.0.0/8 -o veth1 -p tcp"}},
		{"masqAll masquerades all", true, true, false, []string{"-p tcp"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := simple("a", "veth1", 80)
			a.SNAT, a.MasqAll, a.Localhost = tt.snat, tt.all, tt.host
			var got []string
			for i, r := range masqRules(a, v4) {
				head, _, _ := strings.Cut(r.String(), " -m ")
				if i > 0 { // behind the one for connections to elsewhere
					got = append(got, head)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// The networks whose addresses are the node's are read back, few or many.
func TestMasqueradedNetworks(t *testing.T) {
	for _, n := range []int{1, 2, mostNetworks - 1, mostNetworks, 3 * mostNetworks} {
		a := dualStack()
		a.Networks = nil
		for i := range n {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 200, byte(i), 1}), 24+i%2*8)
			a.Networks = append(a.Networks, p.Masked())
		}
		k := newFake()
		k.put(t, v4, a, nil)
		for _, rules := range k["nat"] {
			for _, r := range rules {
				if strings.Count(r, "--ctorigdst ") > mostNetworks {
					t.Errorf("%d networks: one rule has %d", n, strings.Count(r, "--ctorigdst "))
				}
			}
		}
		b := a
		b.Networks = k.layout(t, v4).networks(a.Owner.Key())
		if lost := k.layout(t, v4).Check(b, nil); len(lost) > 0 || len(b.Networks) < n {
			t.Errorf("%d networks: read %d, lost %q", n, len(b.Networks), lost)
		}
	}
}

// Connections from elsewhere pass by the masquerading, unless there are many networks.
func TestJumpsFollowThePodsNetworks(t *testing.T) {
	k, pods := foreign(), []hostport.Attachment{}
	jumps := func() (out []string) {
		for _, r := range k["nat"]["POSTROUTING"] {
			if targetOf(r) == masq {
				from, _, _ := strings.Cut(r, " -m ")
				out = append(out, from)
			}
		}
		return out
	}
	for i, want := range []string{
		"-s 10.1.0.0/24", "-s 10.1.1.0/24 -s 10.1.0.0/24", "-s 10.1.2.0/24 -s 10.1.1.0/24 -s 10.1.0.0/24",
		"-s 10.1.3.0/24 -s 10.1.2.0/24 -s 10.1.1.0/24 -s 10.1.0.0/24", "-m", "-m",
	} {
		a := simple(fmt.Sprint(i), "", uint16(80+i))
		a.Pods = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 2}), 24)}
		pods = append(pods, a)
		k.put(t, v4, a, nil)
		got := strings.Join(jumps(), " ")
		if strings.HasPrefix(got, "-m ") {
			got = "-m"
		}
		if got != want {
			t.Fatalf("%d networks: %q, want %q", i+1, got, want)
		}
		for _, a := range pods {
			if lost := k.layout(t, v4).Check(a, nil); len(lost) > 0 {
				t.Errorf("%d networks: %s lost %q", i+1, a.Owner, lost)
			}
		}
	}
	k.remove(t, v4, pods[0].Owner.Key(), pods[1].Owner.Key(), pods[2].Owner.Key())
	if n := len(jumps()); n != 3 {
		t.Errorf("with three networks left: %q", jumps())
	}
	// One network in another needs none of its own.
	wide := pods[0]
	wide.Pods = []netip.Prefix{netip.MustParsePrefix("10.1.0.2/16")}
	k.put(t, v4, wide, nil)
	if got := strings.Join(jumps(), " "); got != "-s 10.1.0.0/16" {
		t.Errorf("with a wide one: %q", got)
	}
}

// What others have put into the shared chains, and keeps packets from pods, goes with the next
// change. What translates is somebody's claim.
func TestPutEvicts(t *testing.T) {
	a := simple("a", "veth1", 80)
	for line, stays := range map[string]bool{
		masq + " -j RETURN":                               false,
		masq + " -j ACCEPT":                               false,
		hostports + " -j RETURN":                          false,
		hostports + " -p tcp -m tcp --dport 80 -j ACCEPT": false,
		hostports + " -p tcp -m tcp --dport 99 -j DNAT --to-destination 192.0.2.77:80": true,
	} {
		k := newFake()
		k.put(t, v4, a, nil)
		chain, text, _ := strings.Cut(line, " ")
		l := k.layout(t, v4)
		l.chains[chain] = append([]*rule{newRule(strings.Fields(text)...)}, l.chains[chain]...)
		if lost := l.Check(a, nil); len(lost) == 0 {
			t.Errorf("%s: nothing is lost", line)
		}
		if lost := l.Put(nil, a).Check(a, nil); (len(lost) > 0) != stays {
			t.Errorf("%s: %q", line, lost)
		}
	}
}
