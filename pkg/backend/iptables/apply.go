// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/nft"
)

// Apply runs one iptables-restore for each family that changes. When one fails the
// families before it, and that one, are brought back to what they were.
func (b *Backend) Apply(have, want backend.State) error {
	h, w := have.(*State), want.(*State)
	batch := &nft.Batch{}
	for i := range w.parts {
		if err := b.possible(h.parts[i], w.parts[i], batch); err != nil {
			return err
		}
	}
	done := 0
	var err error
	for i := range w.parts {
		script := ruleset.Diff(h.parts[i].layout, w.parts[i].layout)
		if err != nil || script == "" {
			continue
		}
		done = i + 1
		if err = b.o.Tools.Restore(b.flavour, w.parts[i].family, script); err != nil {
			err = fmt.Errorf("could not change the %s rules (%s): %w", b.Name(), w.parts[i].family, err)
		}
	}
	if err == nil && !batch.Empty() {
		// It comes last because it can be undone by nobody.
		err = b.o.Batch(batch)
	}
	if err == nil {
		return nil
	}
	for i := range done {
		if uerr := b.undo(h.parts[i]); uerr != nil {
			err = errors.Join(err, fmt.Errorf("%w: %s (%s): %w", backend.ErrNotUndone, b.Name(), h.parts[i].family, uerr))
		}
	}
	return err
}

// possible fails if a family is to change in a way in which it cannot, before anything
// changes, and adds to batch what iptables cannot remove.
func (b *Backend) possible(have, want part, batch *nft.Batch) error {
	switch {
	case have.native != nil:
		return want.native.remove(batch)
	case have.there || want.layout.Empty():
		return nil
	}
	// It is the first attachment here: nobody has looked yet whether iptables can show
	// the table.
	d, err := b.o.Tools.StartSave(b.flavour, want.family)()
	if err != nil {
		return err
	}
	if err := d.Readable("nat"); err != nil {
		return fmt.Errorf("could not read the %s rules (%s): %w", b.Name(), want.family, err)
	}
	return nil
}

// undo brings a family back to what it was. It looks again, because nobody knows how far
// the change got.
func (b *Backend) undo(have part) error {
	if have.native != nil {
		return nil // nothing was changed yet
	}
	d, err := b.o.Tools.StartSave(b.flavour, have.family)()
	if err == nil {
		err = d.Readable("nat")
	}
	if err != nil {
		return err
	}
	script := ruleset.Diff(ruleset.FromDump(d, have.family), have.layout)
	if script == "" {
		return nil
	}
	return b.o.Tools.Restore(b.flavour, have.family, script)
}
