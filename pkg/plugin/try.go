// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"net/netip"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
)

// Try reports why an ADD of an attachment like that could not put its mappings in the
// backend where, and what to do. Nothing is committed. What could not be loaded is not tried.
func (s *Session) Try(like hostport.Attachment, where string) error {
	a := sample(like)
	for i, b := range s.backends {
		if _, unread := s.have[i].(backend.Nothing); unread || !place.Has(b.Name(), where) {
			continue
		}
		if err := b.Try(s.have[i], s.have[i].With(a)); err != nil {
			if advice := next(err, CodeApply); advice != askDoctor {
				err = fmt.Errorf("%w%s", err, advice)
			}
			return err
		}
	}
	return nil
}

// sample completes an attachment, with port 0, which nobody has.
func sample(a hostport.Attachment) hostport.Attachment {
	a.Owner = hostport.Owner{Network: "portguard-try", ContainerID: "portguard-try", IfName: "eth0"}
	a.Pods = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::1/128")}
	a.Link = "lo"
	for _, f := range hostport.Families() {
		a.Mappings = append(a.Mappings, hostport.Mapping{Family: f, Proto: hostport.TCP, HostPort: 0, ContainerPort: 80})
	}
	return a
}
