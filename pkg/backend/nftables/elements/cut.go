// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// Cut says which packets to the mappings of an attachment, as far as they are in place, what is
// missing keeps away.
func (s *State) Cut(a hostport.Attachment) (cut hostport.Cut) {
	for _, part := range s.Table.Broken {
		if f, one := familyOf(part); !one || len(a.Of(f)) > 0 {
			cut |= cutBy(part)
		}
	}
	each(a, func(e nfttable.Element) {
		if by := cutBy("set " + e.Set); by&hostport.CutIn == 0 && !s.holds(e) { // else it is a mapping, which is not in place
			cut |= by
		}
	})
	if want, some := conditions(a); some {
		if have, _ := s.Table.Conditions(want.Name); len(have.Shape) == 0 {
			cut |= hostport.CutAll
		}
	}
	return cut
}

// cutBy says which packets do not get through the table if a part of its skeleton, or an element of
// a set, is not there. What only leaves packets alone keeps none away.
func cutBy(part string) hostport.Cut {
	_, name, _ := strings.Cut(part, " ")
	switch strings.TrimRight(name, "46") {
	case "dormant", "addresses", "conditions":
		return hostport.CutAll
	case "prerouting":
		return hostport.CutIn
	case "output":
		return hostport.CutOut | hostport.CutLocalhost
	case "hostports", "own", "ports":
		return hostport.CutIn | hostport.CutOut
	case "loopback", setLinks:
		return hostport.CutLocalhost
	case setLocalhost:
		return hostport.CutWildcard
	case "postrouting", "masquerading":
		return hostport.CutLocalhost | hostport.Unmasked
	case "masquerade", "neighbours":
		return hostport.Unmasked
	}
	return 0
}
