// SPDX-License-Identifier: Apache-2.0

package hostport

import "net/netip"

// A Cut says which packets get no more to a mapping that is in place, because some of what leads
// there is gone.
type Cut uint8

// The parts of a Cut.
const (
	// CutIn is what comes in by a link, CutOut what the node itself sends to its addresses but
	// 127.0.0.0/8, and CutLocalhost what it sends to that.
	CutIn Cut = 1 << iota
	CutOut
	CutLocalhost
	// Unmasked means that the pod sees which of its neighbours asks, and answers past the node.
	Unmasked
	// CutWildcard is CutLocalhost for mappings of all addresses alone.
	CutWildcard

	CutAll = CutIn | CutOut | CutLocalhost
)

// Off reports whether packets to an address, of the node itself or not, do not get there.
func (c Cut) Off(self bool, to netip.Addr) bool {
	part := CutIn
	switch {
	case self && to.IsLoopback():
		part = CutLocalhost
	case self:
		part = CutOut
	}
	return c&part != 0
}
