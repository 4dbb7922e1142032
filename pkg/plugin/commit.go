// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/state"
)

// commit writes the record, then the rules: a kill in between leaves a record without
// rules, which DEL removes; never the reverse. What deliver cannot deliver is undone.
// Then the records of the dead go, and those that are wrong are written.
func (s *Session) commit(rec state.Record, dead []hostport.Key, deliver func() error) error {
	key := rec.Attachment.Owner.Key()
	old := s.Record(key)
	if err := s.Store.Save(rec); err != nil {
		return cniError(err, types.ErrIOFailure)
	}
	if err := s.Apply(deliver); err != nil {
		switch {
		case errors.Is(err, backend.ErrNotUndone): // the record leads DEL to the rest
		case old != nil:
			_ = s.Store.Save(*old)
		default:
			_ = s.Store.Delete(key)
		}
		if a := rec.Attachment; len(a.ConditionsV4)+len(a.ConditionsV6) > 0 {
			err = advised{fmt.Errorf("%w; look at conditionsV4 %q and conditionsV6 %q", err, a.ConditionsV4, a.ConditionsV6)}
		}
		return err
	}
	for _, r := range s.wrong {
		s.warnOf(s.Store.Save(r), CodeApply)
	}
	for _, k := range dead {
		s.warnOf(s.Store.Delete(k), CodeApply)
	}
	return nil
}
