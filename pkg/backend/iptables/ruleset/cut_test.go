// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
)

// Each chain keeps away other packets when it leads nowhere. Only what leaves packets alone keeps none
// away.
func TestCut(t *testing.T) {
	a := dualStack()
	key := a.Owner.Key()
	for chain, want := range map[string]hostport.Cut{
		"none":            0,
		"PREROUTING":      hostport.CutIn,
		incoming:          hostport.CutIn,
		"OUTPUT":          hostport.CutOut | hostport.CutLocalhost,
		hostports:         hostport.CutAll,
		condPrefix + key:  hostport.CutAll,
		"POSTROUTING":     hostport.CutLocalhost | hostport.Unmasked,
		masq:              hostport.CutLocalhost | hostport.Unmasked,
		masqPrefix + key:  hostport.CutLocalhost | hostport.Unmasked,
		dnatPrefix + key:  0, // no mapping is in place then
		"another's chain": 0,
	} {
		k := newFake()
		k.put(t, v4, a, nil)
		k["nat"][chain] = nil
		if cut := k.layout(t, v4).Cut(a); cut != want {
			t.Errorf("without the rules of %s: %b is kept away, want %b", chain, cut, want)
		}
	}
}
