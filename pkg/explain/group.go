// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"slices"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
)

// group says who has packets to broadcast and multicast addresses, which are no hostPort's,
// where a pod has the port.
func group(q Question, found []conflict.Finding) string {
	pod := func(f conflict.Finding) bool { return f.Kind == finding.Claimed && f.Life != hostport.Dead }
	if q.Proto != hostport.UDP || !slices.ContainsFunc(found, pod) {
		return ""
	}
	return "Broadcasts and multicasts go to no pod, for a hostPort is at the node's own addresses: " + hearing(found)
}

// ofGroup says the same of one such address, whoever asks for it.
func ofGroup(q Question, found []conflict.Finding) string {
	what := "a broadcast address"
	if q.HostIP.IsMulticast() {
		what = "a multicast address"
	}
	return q.HostIP.String() + " is " + what + ", which no hostPort is at: " + hearing(found)
}

// hearing names the sockets that may have such packets.
func hearing(found []conflict.Finding) string {
	var who []string
	for _, f := range found {
		if f.Groups && !slices.Contains(who, f.Who) {
			who = append(who, f.Who)
		}
	}
	switch len(who) {
	case 0:
		return "nobody on the node has them."
	case 1:
		return who[0] + " has them."
	}
	return list(who) + " have them."
}

// invalid is the code of an ADD with such a hostIP (types.ErrInvalidNetworkConfig).
const invalid = 7

// OfGroup makes the answer one about a broadcast or multicast address.
func (a *Answer) OfGroup(r conflict.Report) { a.Foreign, a.Group = false, ofGroup(a.Question, r.All()) }

// Unfit makes the decision that of an ADD with a hostIP at which no hostPort can be.
func (a *Answer) Unfit(what string) {
	a.Decision = Decision{Code: invalid, Refusals: []string{"hostIP: " + what}}
}
