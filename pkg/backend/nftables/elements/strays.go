// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// stray reports whether somebody else has put an element into one of the sets that only go with
// mappings. Nobody has the port for it, and no DEL is for it, so the next change takes it away.
// One that leads packets somewhere is a claim, and stays.
func stray(e nfttable.Element) bool {
	return !strings.HasPrefix(e.Comment, "portguard") && (keeps(e) || e.Set == setLocalhost || e.Set == setLinks || strings.HasPrefix(e.Set, "masquerade"))
}

// keeps reports whether an element keeps packets from mappings.
func keeps(e nfttable.Element) bool {
	return strings.HasPrefix(e.Set, "spared") || strings.HasPrefix(e.Set, "bylink") || strings.HasPrefix(e.Set, "connected")
}

// keptFrom lists, in words, the strays that keep packets from the mappings of an attachment.
func (s *State) keptFrom(a hostport.Attachment) (out []string) {
	if s.strays == nil {
		s.strays = append([]nfttable.Element{}, s.Table.Elements(func(e nfttable.Element) bool { return stray(e) && keeps(e) })...)
	}
	for _, e := range s.strays {
		if slices.ContainsFunc(a.Mappings, func(m hostport.Mapping) bool { return s.keeps(e, m) }) {
			out = append(out, fmt.Sprintf("table %s: set %s has an element of no pod: %q", s.Table.Spec.Table, e.Set, s.Table.Spec.Text(e)))
		}
	}
	return out
}

// keeps reports whether a stray may keep packets from a mapping.
func (s *State) keeps(e nfttable.Element, m hostport.Mapping) bool {
	set := s.Table.Spec.Set(e.Set)
	from, whole := set.Parts(e.From)
	if !whole || !strings.HasSuffix(e.Set, info(m.Family).name("")) {
		return false
	}
	switch {
	case strings.HasPrefix(e.Set, "connected"):
		return m.Proto == hostport.UDP && m.HostPort == nfttable.PortOf(from[1])
	case strings.HasPrefix(e.Set, "bylink"):
		return !m.Wildcard() && byte(m.Proto) == from[2][0] && m.HostPort == nfttable.PortOf(from[3])
	}
	to, whole := set.Parts(e.To)
	if !whole {
		to = from
	}
	return from[0][0] <= byte(m.Proto) && byte(m.Proto) <= to[0][0] && nfttable.PortOf(from[1]) <= m.HostPort && m.HostPort <= nfttable.PortOf(to[1])
}
