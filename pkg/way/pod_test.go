// SPDX-License-Identifier: Apache-2.0

package way

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// seen is a pod that was looked into; it notes who asked for what.
type seen struct {
	*Inside
	link  string
	asked []Visit
}

func (s *seen) Look(v Visit) *Inside {
	s.asked = append(s.asked, v)
	return s.Inside
}

func (s *seen) Link(hostport.Key) string { return s.link }

// well is a pod of which nothing is wrong.
func well() *Inside {
	return &Inside{Enter: "nsenter --net=/run/netns/x", Link: Port{Name: "eth0"}, Peer: Port{Name: "veth1"}, Client: client,
		Node: netip.MustParseAddr("10.88.0.1"), Near: Neighbour{Addr: pod}, Far: Neighbour{Addr: netip.MustParseAddr("10.88.0.1")}}
}

// What is wrong in the pod closes the way, the first on the way first.
func TestInside(t *testing.T) {
	at := Neighbour{Addr: pod, Wrong: "02:00:00:00:00:99", Right: "02:00:00:00:00:01"}
	for _, tt := range []struct {
		name  string
		spoil func(*Inside)
		check string
		back  bool
		says  string
	}{
		{"nothing", func(*Inside) {}, "", false, ""},
		{"no link", func(in *Inside) { in.Link.Gone, in.Lacks = true, true }, CheckLink, false, "the pod has no link eth0 any more"},
		{"a link that is down", func(in *Inside) { in.Link.Down, in.Lacks = true, true }, CheckLink, false, "eth0 in the pod is down"},
		{"the node's end is", func(in *Inside) { in.Peer.Down, in.Near.Failed = true, true }, CheckLink, false, "veth1, the node's end of eth0 in the pod, is down"},
		{"nobody knows of an end", func(in *Inside) { in.Peer = Port{Down: true} }, "", false, ""},
		{"no bridge", func(in *Inside) { in.Astray, in.Near.Failed = true, true }, CheckLink, false, "is not in bridge cni0 any more"},
		{"no address", func(in *Inside) { in.Lacks, in.Near.Failed = true, true }, CheckAddress, false, "the pod has not got its address 10.88.0.2 any more"},
		{"another", func(in *Inside) { in.Lacks, in.Has = true, []netip.Addr{netip.MustParseAddr("10.88.0.9")} }, CheckAddress, false, "any more, but 10.88.0.9"},
		{"a duplicate", func(in *Inside) { in.Duplicate = true }, CheckAddress, false, "another machine has 10.88.0.2, too"},
		{"a wrong neighbour", func(in *Inside) { in.Near = at; in.Lacks = true }, CheckNeighbour, false, "says that 10.88.0.2 is at 02:00:00:00:00:99"},
		{"no neighbour", func(in *Inside) { in.Near.Failed, in.Far.Failed = true, true }, CheckNeighbour, false, "nobody on cni0 answers for 10.88.0.2"},
		{"no route back", func(in *Inside) { in.Back.Fault = NoRoute }, CheckRoute, true, "the pod has no route to 203.0.113.9"},
		{"a strict rp_filter", func(in *Inside) { in.Back.Fault = ReversePath }, CheckReverse, false, "rp_filter of eth0 in the pod is strict"},
		{"a tunnel", func(in *Inside) { in.Past, in.Back.Out.Name = true, "tun0" }, CheckAnswer, true, "the pod's way to 203.0.113.9 is by tun0, past the node"},
		{"a wrong neighbour in the pod", func(in *Inside) { in.Far = at }, CheckNeighbour, true, "in the pod says that 10.88.0.2 is at 02:00:00:00:00:99"},
		{"no neighbour in the pod", func(in *Inside) { in.Far.Failed = true }, CheckNeighbour, true, "nobody answers the pod for 10.88.0.1"},
	} {
		in := well()
		tt.spoil(in)
		m := model(t, "", nil)
		m.Pods = &seen{Inside: in}
		c := closes(t, m, Outside, claimed())
		switch {
		case tt.check == "" && c != nil:
			t.Errorf("%s: %+v", tt.name, c)
		case tt.check != "" && (c == nil || c.Check != tt.check || c.Back != tt.back || !strings.Contains(c.What, tt.says) || c.Remedy == ""):
			t.Errorf("%s: %+v, want %s: %s", tt.name, c, tt.check, tt.says)
		}
		if c := closes(t, m, Outside, listener()); c != nil {
			t.Errorf("%s, and a socket of the node: %+v", tt.name, c)
		}
	}
}

// A pod that cannot be looked into is not known.
func TestOutside(t *testing.T) {
	m := model(t, "", nil)
	m.Pods = &seen{}
	if c := closes(t, m, Outside, claimed()); c != nil {
		t.Errorf("%+v", c)
	}
}

// The pod is asked for the way back to whom it sees, which is the node where portguard
// masquerades, and nobody knows where others do.
func TestVisits(t *testing.T) {
	to := netip.AddrPortFrom(pod, 80)
	masks := table("nat", "ACCEPT", "POSTROUTING -o cni0 -j MASQUERADE")
	for _, tt := range []struct {
		side  Side
		rules string
		want  Visit
	}{
		{Outside, "", Visit{Client: client}},
		{Outside, masks, Visit{Client: client, Masked: true}},
		{Outside, table("nat", "ACCEPT", "POSTROUTING -o cni0 -m statistic --mode random --probability 0.5 -j MASQUERADE"), Visit{Client: client, Masked: true}},
		{Outside, table("nat", "ACCEPT", "POSTROUTING -o eth0 -j MASQUERADE"), Visit{Client: client}},
		{Self, "", Visit{Client: node}},
		{Pod, "", Visit{}},
	} {
		m, s := model(t, tt.rules, nil), &seen{Inside: well()}
		m.Pods = s
		closes(t, m, tt.side, claimed())
		tt.want.Proto, tt.want.To, tt.want.Out = hostport.TCP, to, cni0
		if d := cmp.Diff([]Visit{tt.want}, s.asked, cmpopts.EquateComparable(Visit{})); d != "" {
			t.Errorf("side %d, %q: -want +got\n%s", tt.side, tt.rules, d)
		}
	}
}

// Rules see the node as the client of what portguard masquerades from where answers come in until
// conntrack gives that back: their client is 127.0.0.1 at INPUT only.
func TestMasquerades(t *testing.T) {
	local, gateway := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.88.0.1")
	for rules, lost := range map[string]bool{
		"": false,
		table("raw", "ACCEPT", "PREROUTING -d 127.0.0.0/8 ! -i lo -j DROP"):     false,
		table("raw", "ACCEPT", "PREROUTING -d 10.88.0.1/32 -j DROP"):            true,
		table("mangle", "ACCEPT", "PREROUTING -d 10.88.0.1/32 -j DROP"):         true,
		table("mangle", "ACCEPT", "PREROUTING -d 127.0.0.1/32 -j DROP"):         false,
		table("filter", "ACCEPT", "INPUT -d 10.88.0.1/32 -j DROP"):              false,
		table("filter", "ACCEPT", "INPUT -d 127.0.0.0/8 ! -i lo -j DROP"):       true,
		table("mangle", "ACCEPT", "POSTROUTING -s 127.0.0.0/8 -o cni0 -j DROP"): true,
	} {
		m := model(t, rules, nil)
		in := well()
		in.Client = gateway
		for _, pods := range []Pods{nil, &seen{}, &seen{Inside: in}} {
			m.Pods = pods
			ways, err := m.Ways(Query{hostport.TCP, netip.AddrPortFrom(local, 8080)}, []netip.Addr{local}, []Source{{Side: Self}}, Claims{walk.Link{}: {claimed()}})
			known := pods != nil && pods.(*seen).Inside != nil || !strings.Contains(rules, "-d 10.88.0.1/32")
			if err != nil || len(ways) != 1 || (ways[0].Closed != nil) != (lost && known) {
				t.Errorf("%q: %v, %+v", rules, err, ways)
			}
		}
	}
	m := model(t, "", routes{"127.0.0.1 10.88.0.2 ": {Fault: NoRoute}})
	if ways, err := m.Ways(Query{hostport.TCP, netip.AddrPortFrom(local, 8080)}, []netip.Addr{local}, []Source{{Side: Self}}, Claims{walk.Link{}: {claimed()}}); err != nil || ways[0].Closed == nil ||
		ways[0].Closed.What != "there is no route to 10.88.0.2 from 127.0.0.1 (if route_localnet is off there: portguard restore)" {
		t.Errorf("a rule for routing from 127.0.0.0/8: %v, %+v", err, ways)
	}
}

// Why there is no route to a pod, its link may tell.
func TestLinkOfPod(t *testing.T) {
	m := model(t, "", routes{"203.0.113.9 10.88.0.2 eth0": {Fault: NoRoute}})
	m.Pods = &seen{link: "cni0 is down"}
	if c := closes(t, m, Outside, claimed()); c == nil || c.What != "there is no route to 10.88.0.2: cni0 is down" {
		t.Errorf("%+v", c)
	}
}

func TestUnheard(t *testing.T) {
	v4 := Visit{Proto: hostport.TCP, To: netip.AddrPortFrom(pod, 80)}
	v6 := Visit{Proto: hostport.TCP, To: netip.MustParseAddrPort("[fd00:88::2]:80")}
	at := func(addr string, more ...func(*hostport.Listener)) hostport.Listener {
		l := hostport.Listener{Proto: hostport.TCP, Addr: netip.MustParseAddr(addr), Port: 80}
		for _, f := range more {
			f(&l)
		}
		return l
	}
	only6 := func(l *hostport.Listener) { l.V6Only = true }
	for _, tt := range []struct {
		name           string
		all            []hostport.Listener
		heard4, heard6 bool
	}{
		{"nobody", nil, false, false},
		{"all of IPv4", []hostport.Listener{at("0.0.0.0")}, true, false},
		{"all of both", []hostport.Listener{at("::")}, true, true},
		{"all of IPv6", []hostport.Listener{at("::", only6)}, false, true},
		{"itself only", []hostport.Listener{at("127.0.0.1"), at("::1")}, false, false},
		{"its addresses", []hostport.Listener{at("10.88.0.2"), at("fd00:88::2")}, true, true},
		{"another", []hostport.Listener{at("10.88.0.3")}, false, false},
		{"another port", []hostport.Listener{at("::", func(l *hostport.Listener) { l.Port = 81 })}, false, false},
		{"another protocol", []hostport.Listener{at("::", func(l *hostport.Listener) { l.Proto = hostport.UDP })}, false, false},
		{"one that does not listen yet", []hostport.Listener{at("::", func(l *hostport.Listener) { l.Bound = true })}, false, false},
	} {
		got4, got6 := Unheard(v4, tt.all, false), Unheard(v6, tt.all, true)
		if (got4 == "") != tt.heard4 || (got6 == "") != tt.heard6 || got6 != "" && !strings.HasSuffix(got6, "unless its own rules lead it elsewhere") {
			t.Errorf("%s: %q, %q", tt.name, got4, got6)
		}
	}
}
