// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// acting are the rules of a chain up to the last one that does something. Behind it all packets leave the
// chain as they are, by a return or at its end.
func (w *Walker) acting(chain string) ([]rule, error) {
	rules, err := w.rules(chain)
	if err != nil {
		return nil, err
	}
	n, known := w.active[chain]
	if !known {
		for n = len(rules); n > 0 && rules[n-1].idle(); {
			n--
		}
		w.active[chain] = n
	}
	return rules[:n], nil
}

// idle reports whether the rule does nothing with packets but to let some leave the chain. Of
// expressions it knows the most common ones.
func (r *rule) idle() bool {
	for _, e := range r.rule.Exprs {
		switch e.Name {
		case "cmp", "range", "bitwise", "counter":
		case "meta":
			if _, sets := e.Attrs.Get(unix.NFTA_META_SREG); sets {
				return false
			}
		case "payload":
			if _, sets := e.Attrs.Get(unix.NFTA_PAYLOAD_SREG); sets {
				return false
			}
		case "immediate":
			data, err1 := e.Attrs.Nested(unix.NFTA_IMMEDIATE_DATA)
			v, err2 := nft.DecodeVerdict(data)
			if err1 != nil || err2 != nil || v.Code != nft.Return && v.Code != nft.Continue {
				return false
			}
		default:
			return false
		}
	}
	return true
}
