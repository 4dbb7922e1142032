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
	unknown := Space{start[0]}
	unknown[0].mark = bits{}
	for _, tt := range []struct {
		name string
		s    Space
		c    Choice
		want Tri
		dst  string
		// doubtful is what is to be expected of an answer that is Unknown.
		doubtful bool
	}{
		{"everything", start, Choice{}, Yes, "192.0.2.0-192.0.2.3", false},
		{"nothing of nothing", nil, Choice{}, No, "", false},
		{"one destination", start, Choice{Dst: set("192.0.2.2/32")}, Yes, "192.0.2.2", false},
		{"another one", start, Choice{Dst: set("198.51.100.0/24")}, No, "", false},
		{"some sources", start, Choice{Src: set("10.0.0.0/8")}, Some, "192.0.2.0-192.0.2.3", false},
		{"all that a link brings", start, Choice{In: "eth0"}, Some, "192.0.2.0-192.0.2.3", false},
		{"what lo brings was translated before", start, Choice{In: "lo"}, No, "", false},
		{"a mark that they have", marked(0x107), mark, Yes, "192.0.2.0-192.0.2.3", false},
		{"one that they do not have", marked(8), mark, No, "", false},
		{"one that nobody has set", start, mark, Unknown, "192.0.2.0-192.0.2.3", true},
		{"one of which nothing is known", unknown, mark, Unknown, "192.0.2.0-192.0.2.3", false},
		{"one of which nothing is known, of some", start.Or(unknown), mark, Unknown, "192.0.2.0-192.0.2.3", false},
		{"one that some have", marked(8).Or(one), mark, Some, "192.0.2.1", false},
		{"no mark, which is only to be expected", start, Choice{Mask: 0xff}, Some, "192.0.2.0-192.0.2.3", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			match, dst, doubtful := tt.s.Chosen(tt.c)
			if match != tt.want || dst.String() != tt.dst || doubtful != tt.doubtful {
				t.Errorf("got %v %q %t, want %v %q %t", match, dst, doubtful, tt.want, tt.dst, tt.doubtful)
			}
		})
	}
}
