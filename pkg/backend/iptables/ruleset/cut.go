// SPDX-License-Identifier: Apache-2.0

package ruleset

import "github.com/portguard/portguard/pkg/hostport"

// Cut says which packets to the mappings of an attachment, as far as they are in place, what is
// missing keeps away. It compares the number of rules, as Whole does.
func (l *Layout) Cut(a hostport.Attachment) (cut hostport.Cut) {
	if !present(a, l.Family) {
		return 0
	}
	key, own, out := a.Owner.Key(), ownChains(a, l.Family), masqJumps(a, l.Family)
	fewer := func(chain string) bool { return len(l.chains[chain]) < len(own[chain]) }
	if fewer(condPrefix+key) || len(l.shared(hostports).of[key]) < len(entries(a, l.Family)) {
		cut |= hostport.CutAll
	}
	if fewer(masqPrefix+key) || len(l.shared(masq).of[key]) < len(out) {
		cut |= hostport.CutLocalhost | hostport.Unmasked
	}
	leads := false
	for _, r := range l.chains[incoming] {
		leads = leads || r.target() == hostports
	}
	if !leads {
		cut |= hostport.CutIn
	}
	for _, b := range l.bases() {
		if _, there := l.checkBase(b); there {
			continue
		}
		switch {
		case b.chain == incoming:
			cut |= hostport.CutIn
		case b.chain == hostports:
			cut |= hostport.CutOut | hostport.CutLocalhost
		case len(out) > 0:
			cut |= hostport.CutLocalhost | hostport.Unmasked
		}
	}
	return cut
}
