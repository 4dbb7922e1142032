// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"cmp"

	"github.com/portguard/portguard/pkg/walk"
)

// A Stage is a part of the way of a packet that arrives for the node.
type Stage uint8

// The stages in the order of the kernel. IPVS takes NodePorts at the local input,
// but portguard's rules let those pass, so they count as rules do.
const (
	Translation Stage = iota // nat and tproxy, by priority
	Rejection                // filter, for what nobody translated
	Socket
)

// Priorities of iptables' tables (NF_IP_PRI_NAT_DST and NF_IP_PRI_MANGLE), and of
// portguard's own.
const (
	PrioIptables = -100
	PrioNftables = -95
)

// A Point is where the kernel asks somebody.
type Point struct {
	Hook     walk.Hook
	Stage    Stage
	Priority int32
	// After is set if that is behind the jump to portguard's rules in the same base chain.
	After bool
}

// Compare orders the points of one hook.
func (p Point) Compare(o Point) int {
	after := map[bool]int{true: 1}
	return cmp.Or(cmp.Compare(p.Stage, o.Stage), cmp.Compare(p.Priority, o.Priority), cmp.Compare(after[p.After], after[o.After]))
}

func both(s Stage, priority int32) []Point {
	return []Point{{Hook: walk.Prerouting, Stage: s, Priority: priority}, {Hook: walk.Output, Stage: s, Priority: priority}}
}
