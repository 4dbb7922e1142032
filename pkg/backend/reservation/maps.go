// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"github.com/portguard/portguard/pkg/backend/reservation/holds"
)

// read gives a Loader all that is in the maps.
func (h *hook) read(l *holds.Loader) error {
	keys, err := h.spare.Keys()
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := l.Spare(k); err != nil {
			return err
		}
	}
	if err := h.ports.All(l.Port); err != nil {
		return err
	}
	return h.refused.All(l.Refusal)
}

// write makes a change, step by step in the order of its fields.
func (h *hook) write(c holds.Change, netns uint64, sys Ports) error {
	for _, k := range c.Spare {
		if err := h.spare.Put(k.Bytes(netns), make([]byte, 4)); err != nil {
			return err
		}
	}
	if err := h.put(c.Put, netns); err != nil {
		return err
	}
	if len(c.List) > 0 {
		if err := sys.ReservePorts(c.List); err != nil {
			return err
		}
	}
	if len(c.Unlist) > 0 {
		if err := sys.FreePorts(c.Unlist); err != nil {
			return err
		}
	}
	if err := h.put(c.Cut, netns); err != nil {
		return err
	}
	for _, k := range c.Drop {
		if err := h.ports.Delete(k.Bytes(netns)); err != nil {
			return err
		}
	}
	for _, k := range c.Forget {
		if err := h.refused.Delete(k.Bytes(netns)); err != nil {
			return err
		}
	}
	for _, k := range c.Unspare {
		if err := h.spare.Delete(k.Bytes(netns)); err != nil {
			return err
		}
	}
	return nil
}

func (h *hook) put(all []holds.Element, netns uint64) error {
	for _, e := range all {
		if err := h.ports.Put(e.PortKey.Bytes(netns), e.Entry.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
