// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/json"
	"path/filepath"
)

// Counters are what ADDs met since boot, by the name of its kind.
type Counters struct {
	BootID string `json:"bootID"`
	// Refusals are ADDs that failed, by the first reason; Conflicts is all that was
	// found, whether it was a reason to refuse or not.
	Refusals  map[string]uint64 `json:"refusals"`
	Conflicts map[string]uint64 `json:"conflicts"`
}

func (s *Store) counters() string { return filepath.Join(s.dir, "counters") }

// Counters returns those of this boot; what cannot be read counts from zero.
func (s *Store) Counters(bootID string) Counters {
	c := Counters{}
	if b, err := readRegular(s.counters()); err != nil || json.Unmarshal(b, &c) != nil || c.BootID != bootID || c.Refusals == nil || c.Conflicts == nil {
		return Counters{BootID: bootID, Refusals: map[string]uint64{}, Conflicts: map[string]uint64{}}
	}
	return c
}

// Count keeps counters, under the lock.
func (s *Store) Count(c Counters) error {
	b, err := json.Marshal(c)
	if err == nil {
		err = replace(s.counters(), s.temporary("counters"), b)
	}
	return dirError("count for the metrics", err)
}
