// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/plugin"
)

// A reserver is a State of what is held against binds of others.
type reserver interface {
	Off() string
	Holds(m hostport.Mapping, key hostport.Key) bool
	Refusals() []hostport.Refusal
}

// reservation says whether binds of others are refused, as far as it is not a matter of the
// configuration.
func reservation(s *plugin.Session) (out inventory.Reservation) {
	out.Reason = "it could not be read"
	each(s, func(r reserver) {
		out.Reason = r.Off()
		out.On = out.Reason == ""
	})
	return out
}

// reserved reports whether binds of others to a mapping are refused.
func reserved(s *plugin.Session, m hostport.Mapping, key hostport.Key) (yes bool) {
	each(s, func(r reserver) { yes = r.Holds(m, key) })
	return yes
}

// forsaken are the ports that are held for no pod.
func forsaken(s *plugin.Session) (out []hostport.Mapping) {
	for _, ms := range s.Forsaken() {
		out = append(out, ms...)
	}
	return out
}

// refusals are what is remembered of refused binds.
func (i *Inspector) refusals(s *plugin.Session, of func(hostport.Refusal) bool) (out []inventory.Refusal) {
	each(s, func(x reserver) {
		refused := slices.DeleteFunc(x.Refusals(), func(r hostport.Refusal) bool { return !of(r) })
		var groups []uint32
		for _, r := range refused {
			if r.Group != 0 && !slices.Contains(groups, r.Group) {
				groups = append(groups, r.Group)
			}
		}
		pods := i.Node.PodsOfGroups(groups, s.PodLogs)
		for _, r := range refused {
			out = append(out, inventory.NewRefusal(r, pods[r.Group], holders(s, r.Keys)))
		}
	})
	return out
}

// holders are what those are called that have a port.
func holders(s *plugin.Session, keys []hostport.Key) (out []string) {
	for _, key := range keys {
		name := "another attachment"
		if rec := s.Record(key); rec != nil {
			name = rec.Attachment.Owner.String()
		} else if a, ok := s.Recover(key); ok {
			name = a.Owner.String()
		}
		out = append(out, name)
	}
	return out
}
