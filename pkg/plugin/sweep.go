// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"errors"
	"slices"
	"sort"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/portmap"
	"github.com/portguard/portguard/pkg/state"
)

// A Swept is what a dead owner had.
type Swept struct {
	By    string // "portguard" or "portmap"
	Owner hostport.Owner
	// Mappings are those that are in place still.
	Mappings []hostport.Mapping
}

// Sweep removes what dead owners have left: rules, UDP flows and records, and
// portmap's rules. Dry only lists it, without the lock.
func (p *Plugin) Sweep(dataDir, cacheDir string, lockTimeout time.Duration, dry bool) ([]Swept, error) {
	if !dry {
		unlock, err := state.Open(dataDir).Lock(lockTimeout)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	i, err := p.inspect(dataDir)
	if err != nil {
		return nil, err
	}
	var all error
	for _, n := range i.notes {
		all = errors.Join(all, errors.New(n))
	}
	p.warn(i.damaged...) // theirs stays
	swept, keys := i.leftovers(cacheDir)
	if dry || all != nil {
		return swept, all
	}
	if len(keys) > 0 {
		if err := p.remove(i.view, i.store, i.tools, keys...); err != nil {
			return nil, err
		}
	}
	for _, s := range swept {
		if s.By == "portmap" {
			if err := removePortmap(i.view, i.tools, s.Owner); err != nil {
				return swept, err
			}
		}
	}
	return swept, nil
}

// leftovers lists the dead of both, and the keys of portguard's.
func (i *inspection) leftovers(cacheDir string) (out []Swept, keys []string) {
	for key, a := range i.attachments {
		if !i.gone(key) {
			continue
		}
		s := Swept{By: "portguard", Owner: a.Owner}
		for _, c := range i.claims {
			if c.Key == key {
				s.Mappings = append(s.Mappings, c.Mapping)
			}
		}
		out, keys = append(out, s), append(keys, key)
	}
	slices.Sort(keys)
	for _, c := range i.ofPortmap() {
		if !portmap.Dead(cacheDir, c.Owner) {
			continue
		}
		o := portmap.Pod(cacheDir, c.Owner)
		n := slices.IndexFunc(out, func(s Swept) bool { return s.By == "portmap" && s.Owner == o })
		if n < 0 {
			out = append(out, Swept{By: "portmap", Owner: o})
			n = len(out) - 1
		}
		out[n].Mappings = append(out[n].Mappings, c.Mapping)
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i], out[j]
		return cmp.Or(cmp.Compare(a.By, b.By), cmp.Compare(a.Owner.String(), b.Owner.String())) < 0
	})
	return out, keys
}
