// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
		{Family: hostport.IPv4, Text: "57: from all tos 0x10 oif lo uidrange lookup main", Vague: true},
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
