// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net/netip"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
)

// Try reports why an ADD could not put mappings in the backend where. Nothing is committed.
// What could not be loaded is not tried.
func (s *Session) Try(where string) error {
	a := sample()
	for i, b := range s.backends {
		if _, unread := s.have[i].(backend.Nothing); unread || !place.Has(b.Name(), where) {
			continue
		}
		if err := b.Try(s.have[i], s.have[i].With(a)); err != nil {
			return err
		}
	}
	return nil
}

// sample is an attachment that needs all that one may need, for a port that none has.
func sample() hostport.Attachment {
	a := hostport.Attachment{
		Owner: hostport.Owner{Network: "portguard-try", ContainerID: "portguard-try", IfName: "eth0"},
		Pods:  []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::1/128")},
		SNAT:  true, Localhost: true, Link: "lo",
	}
	for _, f := range hostport.Families() {
		a.Mappings = append(a.Mappings, hostport.Mapping{Family: f, Proto: hostport.TCP, HostPort: 0, ContainerPort: 80})
	}
	return a
}
