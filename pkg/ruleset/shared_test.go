// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

// Two attachments share a link: the guard lives as long as either, and
// remembers what route_localnet was before the first.
func TestTheGuardOutlivesOneOfTwo(t *testing.T) {
	k := newFake()
	a, b, c := simple("a", "veth1", 80), simple("b", "veth1", 81), simple("c", "veth2", 82)
	k.put(t, v4, a, Node{RouteLocalnet: map[string]bool{"veth1": false}})
	k.put(t, v4, b, Node{RouteLocalnet: map[string]bool{"veth1": true}})
	k.put(t, v4, c, Node{RouteLocalnet: map[string]bool{"veth2": true}})
	for _, step := range []struct {
		gone []string
		want map[string]bool
	}{
		{nil, map[string]bool{"veth1": false, "veth2": true}},
		{[]string{a.Owner.Key()}, map[string]bool{"veth1": false, "veth2": true}},
		{[]string{c.Owner.Key()}, map[string]bool{"veth1": false}},
		{[]string{b.Owner.Key()}, map[string]bool{}},
	} {
		k.remove(t, v4, step.gone...)
		l := k.layout(t, v4)
		if diff := cmp.Diff(step.want, l.Guarded()); diff != "" {
			t.Errorf("guarded (-want +got)\n%s", diff)
		}
		if len(l.Links()) != len(step.want) {
			t.Errorf("links are %q, want %v", l.Links(), step.want)
		}
	}
	if !k.layout(t, v4).Empty() {
		t.Errorf("left over:\n%s", k.save())
	}
}

func TestTheGuardFollowsTheLink(t *testing.T) {
	k := newFake()
	k.put(t, v4, simple("a", "veth1", 80), Node{})
	k.put(t, v4, simple("a", "veth2", 80), Node{})
	if diff := cmp.Diff(map[string]bool{"veth2": false}, k.layout(t, v4).Guarded()); diff != "" {
		t.Errorf("moved (-want +got)\n%s", diff)
	}
	k.put(t, v4, simple("a", "", 80), Node{})
	if got := k.layout(t, v4).Guarded(); len(got) != 0 || len(k["mangle"]["PREROUTING"]) != 0 {
		t.Errorf("without localhost: %v\n%s", got, k.save())
	}
}

func TestTakeOver(t *testing.T) {
	k := newFake()
	dead, other, heir := simple("dead", "veth1", 80), simple("other", "veth2", 81), simple("heir", "veth3", 80)
	k.put(t, v4, dead, Node{})
	k.put(t, v4, other, Node{})
	k.put(t, v4, heir, Node{}, dead.Owner.Key())
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
	if diff := cmp.Diff(map[string]bool{"veth2": false, "veth3": false}, l.Guarded()); diff != "" {
		t.Errorf("guarded (-want +got)\n%s", diff)
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
	k.put(t, v4, simple("b", "veth1", 90), Node{})
	k.put(t, v4, a, Node{})
	a.Mappings[0].HostPort = 8000
	k.put(t, v4, a, Node{})
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
	k.put(t, v4, a, Node{})
	if k.layout(t, v4).Has(a.Owner.Key()) {
		t.Error("an attachment without mappings has rules")
	}
}

func TestPutLeavesItsReceiverAlone(t *testing.T) {
	k := foreign()
	k.put(t, v4, simple("a", "veth1", 80), Node{})
	l, same := k.layout(t, v4), k.layout(t, v4)
	l.Put(dualStack(), Node{Sets: ServiceSets(v4)})
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
		k.put(t, v4, simple(step.id, "", step.port), Node{Sets: ServiceSets(v4)[:step.sets]})
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
			for _, r := range masqRules(a, v4) {
				head, _, _ := strings.Cut(r, " -m ")
				got = append(got, head)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
