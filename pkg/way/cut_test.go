// SPDX-License-Identifier: Apache-2.0

package way

import (
	"net/netip"
	"testing"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
)

// A mapping of which rules are gone has only those packets that still get to it; of the rest it is as if
// it were not there.
func TestCutMappings(t *testing.T) {
	localhost := netip.MustParseAddr("127.0.0.1")
	for _, tt := range []struct {
		cut                      hostport.Cut
		outside, self, localhost bool
	}{
		{0, true, true, true},
		{hostport.CutIn, false, true, true},
		{hostport.CutIn | hostport.CutOut, false, false, true},
		{hostport.CutLocalhost | hostport.Unmasked, true, true, false},
		{hostport.CutAll, false, false, false},
	} {
		f := claimed()
		f.Cut = tt.cut
		for _, p := range []struct {
			side Side
			to   netip.Addr
			want bool
		}{{Outside, node, tt.outside}, {Self, node, tt.self}, {Self, localhost, tt.localhost}} {
			w := Way{Source: Source{Side: p.side}, To: p.to}
			if w.take([]conflict.Finding{f}); (w.Taker != nil) != p.want {
				t.Errorf("%b, side %d to %s: taken is %t", tt.cut, p.side, p.to, w.Taker != nil)
			}
		}
	}
}
