// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"sync"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/iptsave"
)

// Shared is Tools for a Backend and a Guard of one call: what was saved is not saved
// again until it was changed.
func Shared(t Tools) Tools {
	return &shared{Tools: t, saves: map[saved]func() (*iptsave.Dump, error){}}
}

type saved struct {
	flavour iptables.Flavour
	family  hostport.Family
}

type shared struct {
	Tools
	saves map[saved]func() (*iptsave.Dump, error)
}

func (s *shared) StartSave(fl iptables.Flavour, f hostport.Family) func() (*iptsave.Dump, error) {
	at := saved{fl, f}
	if s.saves[at] == nil {
		s.saves[at] = sync.OnceValues(s.Tools.StartSave(fl, f))
	}
	return s.saves[at]
}

func (s *shared) Restore(fl iptables.Flavour, f hostport.Family, script string) error {
	delete(s.saves, saved{fl, f})
	return s.Tools.Restore(fl, f, script)
}
