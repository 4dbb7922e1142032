// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"slices"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
)

// Forsaken are the ports that are held for attachments of which nothing else is there: their
// ADDs were killed, or go on if the lock is not held. Whatever is changed next frees them.
func (s *Session) Forsaken() map[hostport.Key][]hostport.Mapping {
	out := map[hostport.Key][]hostport.Mapping{}
	for _, st := range s.have {
		h, ok := st.(interface {
			Held() map[hostport.Key][]hostport.Mapping
		})
		if !ok || len(s.unread) > 0 {
			continue
		}
		for key, ms := range h.Held() {
			if _, some := s.Recover(key); !some && !s.Store.Has(key) {
				out[key] = ms
			}
		}
	}
	return out
}

// hold keeps others from what attachments ask for, where a backend can, until Apply puts in
// place what is wanted then or release is called.
func (s *Session) hold(as ...hostport.Attachment) (release func(), err error) {
	var back []func() error
	release = func() {
		for _, undo := range slices.Backward(back) {
			s.warnOf(undo(), CodeApply)
		}
		back = nil
	}
	for i, b := range s.backends {
		if _, ok := b.(backend.Holder); !ok {
			continue
		}
		before, held := s.have[i], s.have[i].WithAll(as)
		if err := b.Apply(s.have[i], held); err != nil {
			release()
			return release, raceOr(err)
		}
		s.have[i] = held
		back = append(back, func() error {
			now := s.have[i] // others may hold more since
			s.have[i] = before
			return b.Apply(now, before)
		})
	}
	return release, nil
}
