// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
)

// Apply runs one iptables-restore for each family that changes. When one fails, those that
// were begun are brought back to what they were.
func (b *Backend) Apply(have, want backend.State) error {
	h, w := have.(*State), want.(*State)
	steps, batch, err := b.plan(h, w)
	if err != nil {
		return err
	}
	begun, err := b.change(steps)
	if err == nil && !batch.Empty() {
		err = b.o.Batch(batch) // last, because it does all of it or nothing
	}
	if err == nil {
		return nil
	}
	for _, s := range begun {
		if uerr := b.undo(s.back); uerr != nil {
			err = errors.Join(err, fmt.Errorf("%w: %s (%s): %w", backend.ErrNotUndone, b.Name(), s.back.Family, uerr))
		}
	}
	return err
}

// change runs the steps, and returns those that were begun. With iptables-nft both
// families change at the same time, because most of it is waiting for the kernel; the
// tools of iptables-legacy have a lock.
func (b *Backend) change(steps []step) (begun []step, err error) {
	atOnce := 1
	if b.flavour == iptables.NFT {
		atOnce = 2
	}
	for some := range slices.Chunk(steps, atOnce) {
		begun = append(begun, some...)
		var waits []func() error
		for _, s := range some {
			waits = append(waits, b.o.Tools.Start(b.flavour, s.back.Family, s.script))
		}
		for i, wait := range waits {
			if werr := wait(); werr != nil && err == nil {
				err = fmt.Errorf("could not change the %s rules (%s): %w", b.Name(), some[i].back.Family, werr)
			}
		}
		if err != nil {
			break
		}
	}
	return begun, err
}

// A step is the change of one family, and what it was before.
type step struct {
	script string
	back   *ruleset.Layout
}

// plan makes the steps, and the batch that removes what iptables cannot. It fails, before
// anything changes, if a family cannot take what it should.
func (b *Backend) plan(have, want *State) (steps []step, batch *nft.Batch, err error) {
	batch = &nft.Batch{}
	for i, w := range want.parts {
		h := have.parts[i]
		if w.native != nil {
			if w.refused {
				return nil, nil, w.native.err
			}
			w.native.remove(h.layout.Gone(w.layout), nft.Table{Family: w.family.NFProto(), Name: "nat"}, batch)
			continue
		}
		s := step{ruleset.Diff(h.layout, w.layout), h.layout}
		if s.script == "" {
			continue
		}
		if !h.layout.Undoable(w.layout) { // the way back takes the words of iptables
			nat, err := b.o.Tools.Save(b.flavour, w.family, "nat")
			if err != nil {
				return nil, nil, err
			}
			s.back = ruleset.FromSave(nat, w.family)
		}
		steps = append(steps, s)
	}
	return steps, batch, nil
}

// undo brings a family back to what it was. It looks again, because nobody knows how far
// the change got.
func (b *Backend) undo(back *ruleset.Layout) error {
	now, err := b.look(b.o.Open(), back.Family)
	if err != nil {
		return err
	}
	script := ruleset.Diff(now.layout, back)
	if script == "" {
		return nil
	}
	return b.o.Tools.Restore(b.flavour, back.Family, script)
}
