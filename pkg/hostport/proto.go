// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"fmt"
	"net/netip"
	"strings"
)

// A Proto is a transport protocol by its IANA number.
type Proto uint8

// The protocols a hostPort may have (Kubernetes' core/v1 Protocol).
const (
	TCP  Proto = 6
	UDP  Proto = 17
	SCTP Proto = 132
)

// ParseProto reads a protocol name in any case. The empty string is TCP, which
// is Kubernetes' default.
func ParseProto(s string) (Proto, error) {
	switch strings.ToLower(s) {
	case "", "tcp":
		return TCP, nil
	case "udp":
		return UDP, nil
	case "sctp":
		return SCTP, nil
	}
	return 0, fmt.Errorf("%q is not a protocol (want tcp, udp or sctp)", s)
}

// String returns the name iptables and Kubernetes' events use, in lower case.
func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return fmt.Sprintf("proto-%d", uint8(p))
}

// MarshalText writes the name, so that state files read well.
func (p Proto) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (p *Proto) UnmarshalText(b []byte) (err error) {
	*p, err = ParseProto(string(b))
	return err
}

// A Family is an IP version.
type Family uint8

// The two families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of a; a v4-mapped IPv6 address counts as IPv4.
//
//go:noinline // it is called from many places
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Families returns both families in the order in which they are handled.
func Families() [2]Family { return [2]Family{IPv4, IPv6} }

// String returns "IPv4" or "IPv6".
func (f Family) String() string { return fmt.Sprintf("IPv%d", uint8(f)) }

// Bits returns the length of an address in bits.
func (f Family) Bits() int {
	if f == IPv4 {
		return 32
	}
	return 128
}

// Wildcard returns the unspecified address, 0.0.0.0 or "::".
func (f Family) Wildcard() netip.Addr {
	if f == IPv4 {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// Loopback returns 127.0.0.1 or "::1".
func (f Family) Loopback() netip.Addr {
	if f == IPv4 {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// LimitedBroadcast is the address of all machines of whichever link (RFC 919, 7). It is in no table.
func LimitedBroadcast() netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, 255}) }

// NFProto is what netfilter calls the family (NFPROTO_IPV4, NFPROTO_IPV6), as in
// the family of a table.
//
//go:noinline // it is called from many places
func (f Family) NFProto() uint8 {
	if f == IPv4 {
		return 2
	}
	return 10
}
