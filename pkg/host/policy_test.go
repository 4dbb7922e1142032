// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// realRules are what Linux 6.18 answers to RTM_GETRULE, in its order.
func realRules() []string {
	return []string{
		"020000004d0000010000000008000f004d00000008000e00ffffffff0500150000000000080006003200000008000a000700000008001000ff000000",
		"022018004e0000010800000008000f004e00000008000e00ffffffff0500150000000000090003006574683000000000080006003300000008000a000700000008001000ffffffff08001800901f901f06001d00ffff0000050016000600000008000100c0000203080002000a080000",
		"020010004f0000010200000008000f004f00000008000e00ffffffff05001500000000000800060034000000080017000500050006001c00ffff0000080002000a090000",
		"02000000000000020000000008000f000000000008000e00ffffffff0500150000000000080006003500000008000400c8000000",
		"02000000000000030000000008000f000000000008000e00ffffffff05001500000000000800060036000000",
		"02200000000000060000000008000f000000000008000e00ffffffff0500150000000000080006003700000008000100c0000209",
		"02000000000000010000000008000f000000000008000e00ffffffff050015000000000008000600380000000500130001000000",
		"02000010fe0000010000000008000f00fe00000008000e00000000000500150000000000070011006c6f000008000600390000000c0014000100000002000000",
		"02000000ff0000010000000008000f00ff00000008000e00ffffffff05001500000000000800060064000000",
		"02000000630000010000000008000f006300000008000e00ffffffff050015000000000008000600c8000000",
		"02000000fe0000010000000008000f00fe00000008000e00ffffffff050015000200000008000600fe7f0000",
		"80000000fd0000010000000008000f00fd00000008000e00ffffffff050015000200000008000600ff7f0000",
		"0a000000ff0000010000000008000f00ff00000008000e00ffffffff0500150002000000",
		"0a4000004d0000010000000008000f004d00000008000e00ffffffff05001500000000001400010020010db8000000000000000000000000",
	}
}

func messages(t *testing.T, texts []string) (out [][]byte) {
	t.Helper()
	for _, s := range texts {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// What is before the rule for table local is found, rules for VRFs and those that do nothing
// aside, and nothing of what comes after it.
func TestRulesBeforeLocal(t *testing.T) {
	early, err := beforeLocal(messages(t, realRules()))
	if err != nil {
		t.Fatal(err)
	}
	var got []hostport.RouteRule
	for _, r := range early {
		got = append(got, r.RouteRule)
	}
	all, p := ^uint32(0), netip.MustParsePrefix
	want := []hostport.RouteRule{
		{Family: hostport.IPv4, Text: "50: from all fwmark 0x7/0xff lookup 77", Mark: 7, Mask: 0xff},
		{Family: hostport.IPv4, Text: "51: from 10.8.0.0/24 to 192.0.2.3/32 fwmark 0x7 iif eth0 ipproto tcp dport 8080 lookup 78",
			Src: p("10.8.0.0/24"), Dst: p("192.0.2.3/32"), In: "eth0", Mark: 7, Mask: all, Proto: hostport.TCP, Ports: [2]uint16{8080, 8080}},
		{Family: hostport.IPv4, Text: "52: not from 10.9.0.0/16 sport lookup 79", Src: p("10.9.0.0/16"), Vague: true},
		{Family: hostport.IPv4, Text: "53: from all goto 200", Vague: true},
		{Family: hostport.IPv4, Text: "55: from all to 192.0.2.9/32 blackhole", Dst: p("192.0.2.9/32")},
		{Family: hostport.IPv4, Text: "57: from all tos 0x10 oif lo uidrange lookup main suppress_prefixlength 0", Vague: true},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if early, err = beforeLocal(messages(t, realRules()[8:])); err != nil || len(early) > 0 {
		t.Errorf("behind it: %v %v", early, err)
	}
}

// A restricted rule for table local does not end the search, and what is cut off is an error.
func TestOddRules(t *testing.T) {
	const onlyMarked = "02000000ff0000010000000008000f00ff0000000800060000000000" + "08000a000700000008001000ffffffff"
	early, err := beforeLocal(messages(t, []string{onlyMarked, realRules()[0]}))
	if err != nil || len(early) != 2 || early[0].Text != "0: from all fwmark 0x7 lookup local" {
		t.Errorf("%v %v", early, err)
	}
	for _, m := range []string{"0200", "02000000ff00000100000000" + "06000a0007000000", "02000000ff00000100000000" + "08000a00"} {
		if _, err := beforeLocal(messages(t, []string{m})); err == nil {
			t.Errorf("%s was read", m)
		}
	}
}

// What a table says counts only where the search ends at its most specific route.
func TestEndsOfATable(t *testing.T) {
	route := func(dst string, typ int, change ...func(*netlink.Route)) netlink.Route {
		_, n, err := net.ParseCIDR(dst)
		if err != nil {
			t.Fatal(err)
		}
		r := netlink.Route{Dst: n, Type: typ, LinkIndex: 2}
		for _, f := range change {
			f(&r)
		}
		return r
	}
	metric := func(n int) func(*netlink.Route) { return func(r *netlink.Route) { r.Priority = n } }
	tos := func(r *netlink.Route) { r.Tos = 0x10 }
	by := func(links ...int) func(*netlink.Route) {
		return func(r *netlink.Route) {
			r.LinkIndex = 0
			for _, l := range links {
				r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: l})
			}
		}
	}
	const uni, throw, black = unix.RTN_UNICAST, unix.RTN_THROW, unix.RTN_BLACKHOLE
	anywhere := route("0.0.0.0/0", uni)
	none := fibRule{suppressBits: -1, suppressGroup: -1}
	short := fibRule{suppressBits: 0, suppressGroup: -1}
	group := fibRule{suppressBits: -1, suppressGroup: 5}
	for _, tt := range []struct {
		says   string
		rule   fibRule
		routes []netlink.Route
		ends   bool
	}{
		{"a default route", none, []netlink.Route{anywhere}, true},
		{"one that the rule suppresses", short, []netlink.Route{anywhere}, false},
		{"a longer one that it does not", short, []netlink.Route{anywhere, route("192.0.2.0/24", uni)}, true},
		{"what refuses is never suppressed", short, []netlink.Route{route("0.0.0.0/0", black)}, true},
		{"but what is more specific may be", fibRule{suppressBits: 24, suppressGroup: -1}, []netlink.Route{route("192.0.2.0/24", uni), route("0.0.0.0/0", black)}, false},
		{"by a link of the group", group, []netlink.Route{anywhere}, false},
		{"by one of another group", fibRule{suppressBits: -1, suppressGroup: 6}, []netlink.Route{anywhere}, true},
		{"the first of several counts", group, []netlink.Route{route("0.0.0.0/0", uni, by(2, 3))}, false},
		{"the second does not", group, []netlink.Route{route("0.0.0.0/0", uni, by(3, 2))}, true},
		{"thrown back", none, []netlink.Route{route("192.0.2.0/24", throw), anywhere}, false},
		{"of others only", none, []netlink.Route{route("198.51.100.0/24", throw), anywhere}, true},
		{"within what is thrown back", none, []netlink.Route{route("192.0.2.1/32", uni), route("192.0.2.0/24", throw)}, true},
		{"to the node itself", none, []netlink.Route{route("0.0.0.0/0", unix.RTN_LOCAL)}, false},
		{"to the node itself, and others elsewhere", none, []netlink.Route{anywhere, route("192.0.2.1/32", unix.RTN_LOCAL)}, false},
		{"to the node itself for some packets", none, []netlink.Route{anywhere, route("192.0.2.1/32", unix.RTN_LOCAL, tos)}, true},
		{"with the lesser metric", none, []netlink.Route{route("0.0.0.0/0", uni, metric(9)), route("0.0.0.0/0", throw, metric(1))}, false},
		{"with the greater one", none, []netlink.Route{route("0.0.0.0/0", throw, metric(9)), route("0.0.0.0/0", uni, metric(1))}, true},
		{"for some packets", none, []netlink.Route{route("0.0.0.0/0", throw), route("0.0.0.0/0", uni, tos)}, true},
		{"thrown back for some packets", none, []netlink.Route{anywhere, route("192.0.2.0/24", throw, tos)}, true},
	} {
		tt.rule.Family = hostport.IPv4
		if got := ends(tt.rule, tt.routes, map[int]uint32{2: 5, 3: 6}).Contains(netip.MustParseAddr("192.0.2.1")); got != tt.ends {
			t.Errorf("%s: %v", tt.says, got)
		}
	}
}

// A rule says what it suppresses.
func TestSuppressing(t *testing.T) {
	const rule = "0200000000000001000000000800" + "0f004f000000" + "08000e0000000000" + "08000d0005000000" + "0800060064000000"
	early, err := beforeLocal(messages(t, []string{rule}))
	if want := "100: from all lookup 79 suppress_prefixlength 0 suppress_ifgroup 5"; err != nil || len(early) != 1 || early[0].Text != want || early[0].Vague {
		t.Errorf("%+v %v", early, err)
	}
}
