// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
)

func TestChosen(t *testing.T) {
	set := func(s string) addrset.Set { return addrset.Of(netip.MustParsePrefix(s)) }
	start := Packet{Hook: Prerouting, Dst: set("192.0.2.0/30"), Port: 80}.Start()
	marked := func(n uint32) Space {
		s := Space{start[0]}
		s[0].mark = number(n)
		return s
	}
	one := Space{start[0]}
	one[0].dst = set("192.0.2.1/32")
	one[0].mark = number(7)
	mark := Choice{Mark: 7, Mask: 0xff}
	for _, tt := range []struct {
		name string
		s    Space
		c    Choice
		want Tri
		dst  string
	}{
		{"everything", start, Choice{}, Yes, "192.0.2.0-192.0.2.3"},
		{"nothing of nothing", nil, Choice{}, No, ""},
		{"one destination", start, Choice{Dst: set("192.0.2.2/32")}, Yes, "192.0.2.2"},
		{"another one", start, Choice{Dst: set("198.51.100.0/24")}, No, ""},
		{"some sources", start, Choice{Src: set("10.0.0.0/8")}, Some, "192.0.2.0-192.0.2.3"},
		{"all that a link brings", start, Choice{In: "eth0"}, Some, "192.0.2.0-192.0.2.3"},
		{"what lo brings was translated before", start, Choice{In: "lo"}, No, ""},
		{"a mark that they have", marked(0x107), mark, Yes, "192.0.2.0-192.0.2.3"},
		{"one that they do not have", marked(8), mark, No, ""},
		{"one that nobody has set", start, mark, Unknown, "192.0.2.0-192.0.2.3"},
		{"one that some have", marked(8).Or(one), mark, Some, "192.0.2.1"},
		{"no mark, which is only to be expected", start, Choice{Mask: 0xff}, Some, "192.0.2.0-192.0.2.3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			match, dst := tt.s.Chosen(tt.c)
			if match != tt.want || dst.String() != tt.dst {
				t.Errorf("got %v %q, want %v %q", match, dst, tt.want, tt.dst)
			}
		})
	}
}
