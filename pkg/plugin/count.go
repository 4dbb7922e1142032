// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/state"
)

// count notes what an ADD met, for the metrics. One that met nothing writes
// nothing.
func (p *Plugin) count(store *state.Store, r conflict.Report, failed error) {
	if len(r.Conflicts)+len(r.Warnings) == 0 && failed == nil {
		return
	}
	c := store.Counters(p.Node.BootID())
	seen := map[string]bool{}
	for _, list := range [][]conflict.Finding{r.Conflicts, r.Warnings} {
		for _, f := range list {
			if !seen[f.Message] { // with the policy "warn" a conflict is in both
				seen[f.Message] = true
				c.Conflicts[f.Kind.String()]++
			}
		}
	}
	if failed != nil {
		c.Refusals[reason(failed)]++
	}
	p.warnOf(store.Count(c), CodeApply)
}

// reason names why an ADD failed.
func reason(err error) string {
	var e *types.Error
	if !errors.As(err, &e) {
		return "apply"
	}
	switch e.Code {
	case types.ErrTryAgainLater:
		return "busy"
	case types.ErrInvalidNetworkConfig:
		return "configuration"
	case types.ErrIOFailure:
		return "state"
	case CodeUnreadable:
		return "unreadable"
	case CodeApply:
		return "apply"
	}
	return finding.Kind(e.Code).String()
}
