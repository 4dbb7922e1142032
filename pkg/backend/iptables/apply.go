// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
)

// Apply runs one iptables-restore for each family that changes. When one fails the
// families before it, and that one, are brought back to what they were.
func (b *Backend) Apply(have, want backend.State) error {
	h, w := have.(*State), want.(*State)
	steps, batch, cleanup, err := b.plan(h, w)
	if err != nil {
		return err
	}
	done := 0
	for _, s := range steps {
		done++
		if err = b.restore(s.back.Family, s.script); err != nil {
			err = fmt.Errorf("could not change the %s rules (%s): %w", b.Name(), s.back.Family, err)
			break
		}
	}
	if err == nil && !batch.Empty() {
		err = b.o.Batch(batch) // last, because it does all of it or nothing
	}
	if err == nil {
		if !cleanup.Empty() {
			_ = b.o.Batch(cleanup) // what a foreign rule leads to stays, empty
		}
		for _, s := range steps {
			b.drop(s.back.Family, s.goes)
		}
		return nil
	}
	for _, s := range steps[:done] {
		if uerr := b.undo(s.back); uerr != nil {
			err = errors.Join(err, fmt.Errorf("%w: %s (%s): %w", backend.ErrNotUndone, b.Name(), s.back.Family, uerr))
		}
		b.drop(s.back.Family, s.made)
	}
	return err
}

// drop removes table nat of a family if it is one that the tool has made for a change which is
// undone. What somebody else has put there meanwhile keeps it. A table of legacy goes with the
// kernel's module only.
func (b *Backend) drop(f hostport.Family, made bool) {
	if !made || b.flavour != iptables.NFT {
		return
	}
	names, err := b.o.Open().Chains(string(b.flavour), f, "nat")
	if err != nil || len(names) == 0 {
		return
	}
	batch := &nft.Batch{}
	batch.DropTable(nft.Table{Family: f.NFProto(), Name: "nat"}, slices.DeleteFunc(slices.Clone(names), func(c string) bool { return !base(c) })...)
	_ = b.o.Batch(batch)
}

// Try has iptables-restore read the script of each family that would change.
func (b *Backend) Try(have, want backend.State) error {
	steps, _, _, err := b.plan(have.(*State), want.(*State))
	if err != nil {
		return err
	}
	for _, s := range steps {
		names, err := b.o.Open().Chains(string(b.flavour), s.back.Family, "nat")
		if err == nil && b.flavour == iptables.Legacy && len(names) == 0 {
			s.script = "" // the tool would make the table
		}
		if err == nil {
			err = withSockets(s.script, func(script string) error { return b.o.Tools.Test(b.flavour, s.back.Family, script) })
		}
		if err != nil {
			return fmt.Errorf("could not change the %s rules (%s): %w", b.Name(), s.back.Family, err)
		}
	}
	return nil
}

// A step is the change of one family, and what it was before. It may make the table, or undo a
// change that has made it, so that it goes.
type step struct {
	script     string
	back       *ruleset.Layout
	made, goes bool
}

// plan makes the steps, and the batch that removes what iptables cannot. It fails, before
// anything changes, if a family cannot take what it should.
func (b *Backend) plan(have, want *State) (steps []step, batch, cleanup *nft.Batch, err error) {
	batch, cleanup = &nft.Batch{}, &nft.Batch{}
	for i, w := range want.parts {
		h := have.parts[i]
		if w.native != nil {
			if w.refused {
				return nil, nil, nil, w.native.err
			}
			w.native.remove(h.layout.Gone(w.layout), nft.Table{Family: w.family.NFProto(), Name: "nat"}, batch, cleanup)
			continue
		}
		s := step{ruleset.Diff(h.layout, w.layout), h.layout, h.absent, w.absent}
		if s.script == "" {
			continue
		}
		if !h.layout.Undoable(w.layout) { // the way back takes the words of iptables
			nat, err := b.o.Tools.Save(b.flavour, w.family, "nat")
			if err != nil {
				return nil, nil, nil, err
			}
			s.back = ruleset.FromSave(nat, w.family)
		}
		steps = append(steps, s)
	}
	return steps, batch, cleanup, nil
}

// undo brings a family back to what it was. It looks again, because nobody knows how far
// the change got.
func (b *Backend) undo(back *ruleset.Layout) error {
	now, err := b.look(b.o.Open(), back.Family)()
	if err != nil {
		return err
	}
	script := ruleset.Diff(now.layout, back)
	if script == "" {
		return nil
	}
	return b.restore(back.Family, script)
}

// restore applies a script. A chain to which a rule of somebody else leads cannot be
// removed: it stays, empty. The tool of legacy does not say that this is why it failed.
func (b *Backend) restore(f hostport.Family, script string) error {
	err := withSockets(script, func(script string) error { return b.o.Tools.Restore(b.flavour, f, script) })
	used := b.flavour == iptables.NFT && errors.Is(err, iptables.ErrBusy) || errors.Is(err, iptables.ErrGone)
	if kept := ruleset.KeepChains(script); used && kept != script && b.o.Tools.Restore(b.flavour, f, kept) == nil {
		return nil
	}
	return err
}

// withSockets runs a script, and one for a kernel without the match on sockets if it fails.
// The tools do not say which match they miss.
func withSockets(script string, run func(string) error) error {
	err := run(script)
	plain := ruleset.WithoutSockets(script)
	if err == nil || plain == script || !errors.Is(err, iptables.ErrGone) || run(plain) != nil {
		return err
	}
	return nil
}
