// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/nftables/elements"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
)

// change brings a table from have to want. A kernel that lacks an expression of the skeleton
// gets the one without it.
func change(k kernel, have, want *nfttable.Table) error {
	err := attempt(k, have, want)
	if lesser, ok := withoutIt(have, want, err); ok && !errors.Is(err, backend.ErrNotUndone) && attempt(k, have, lesser) == nil {
		return nil
	}
	return lacking(have, err)
}

// withoutIt is want for a kernel that may have refused it for an expression of the skeleton.
func withoutIt(have, want *nfttable.Table, err error) (lesser *nfttable.Table, ok bool) {
	if !lacks(err) || have.There && len(have.Broken) == 0 {
		return nil, false
	}
	return want.Lesser()
}

// attempt changes a table. When it fails the table is brought back to what it was, by
// looking again: the skeleton may have been made before, and chains with conditions.
func attempt(k kernel, have, want *nfttable.Table) error {
	plan := nfttable.Diff(have, want)
	if plan.Empty() {
		return nil
	}
	if have.Stranger != nil {
		return have.Stranger
	}
	err := k.apply(plan.Prepare)
	if err == nil && plan.Script != "" {
		if err = k.runScript(plan.Script); err == nil {
			var now *nfttable.Table
			if now, err = want.Spec.Read(k.reader()); err == nil {
				err = elements.Meant(want, now)
			}
		}
	}
	if err == nil {
		err = inParts(k, plan.Commit)
	}
	if err == nil {
		_ = k.apply(plan.Cleanup) // nothing leads to what it removes
		return nil
	}
	return errors.Join(err, undo(k, have, want))
}

// inParts applies a batch, and one that is longer than root of a user namespace may send in
// halves. When the second fails, undo takes back the first.
func inParts(k kernel, b *nft.Batch) error {
	err := k.apply(b)
	if !errors.Is(err, unix.EMSGSIZE) || b.Len() < 2 {
		return err
	}
	first, second := b.Halves()
	if err := inParts(k, first); err != nil {
		return err
	}
	return inParts(k, second)
}

// undo brings a table back, as far as a change of it got.
func undo(k kernel, have, want *nfttable.Table) error {
	now, err := have.Spec.Read(k.reader())
	if err == nil {
		back := nfttable.Diff(now, nfttable.Revert(now, have, want))
		if err = inParts(k, back.Commit); err == nil {
			err = k.apply(back.Cleanup)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", backend.ErrNotUndone, err)
	}
	return nil
}

// lacks reports whether the kernel refused a change because it cannot do it, or because
// something is not there.
func lacks(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}

// lacking says of a table that could not be made that the kernel cannot do it.
func lacking(have *nfttable.Table, err error) error {
	if !have.There && lacks(err) {
		return unavailable{fmt.Errorf("%w (is a module of nf_tables missing?): %w", nftconn.ErrNoKernel, err)}
	}
	return err
}

// unavailable is backend.ErrUnavailable, and says more.
type unavailable struct{ error }

func (e unavailable) Is(target error) bool { return target == backend.ErrUnavailable }

func (e unavailable) Unwrap() error { return e.error }
