// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
)

// valid reports why a record is none that an ADD has written under a key. What is wrong in one
// must not stop the calls for others, which read it too.
func (r *Record) valid(key string) error {
	if odd := r.odd(key); odd != "" {
		return fmt.Errorf("%s is not what an ADD writes", odd)
	}
	return nil
}

// odd names the first part that no ADD writes, "" if there is none.
func (r *Record) odd(key string) string {
	a := r.Attachment
	if a.Owner.Key() != key {
		return "attachment.owner"
	}
	if strings.Contains(a.Link, "/") || a.Link == "." || a.Link == ".." {
		return "attachment.link"
	}
	ofNetwork := func(p netip.Prefix) bool { return p.IsValid() }
	ofCarve := func(c hostport.Carve) bool { return c.Addr.IsValid() }
	for _, odd := range []string{
		first("attachment.pods", a.Pods, ofNetwork),
		first("attachment.networks", a.Networks, ofNetwork),
		first("attachment.excludes", a.Excludes, ofNetwork),
		first("attachment.mappings", a.Mappings, isMapping),
		first("attachment.carves", a.Carves, ofCarve),
		first("attachment.flows", a.Flows, isFlow),
		first("left", r.Left, isMapping),
	} {
		if odd != "" {
			return odd
		}
	}
	return ""
}

// first names the first part of a list that is none of its kind.
func first[T any](name string, all []T, is func(T) bool) string {
	for i, x := range all {
		if !is(x) {
			return fmt.Sprintf("%s[%d]", name, i)
		}
	}
	return ""
}

func isMapping(m hostport.Mapping) bool {
	switch m.Proto {
	case hostport.TCP, hostport.UDP, hostport.SCTP:
	default:
		return false
	}
	return (m.Family == hostport.IPv4 || m.Family == hostport.IPv6) && m.HostPort != 0 && (!m.HostIP.IsValid() || hostport.FamilyOf(m.HostIP) == m.Family)
}

func isFlow(f hostport.Flow) bool {
	return f.Local.IsValid() && f.Peer.IsValid() && f.Local.Addr().Is4() == f.Peer.Addr().Is4()
}
