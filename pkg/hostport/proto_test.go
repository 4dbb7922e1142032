// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseProto(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     Proto
		fails    bool
	}{
		{name: "the empty string is tcp", in: "", want: TCP},
		{name: "lower case is read", in: "udp", want: UDP},
		{name: "upper case is read", in: "SCTP", want: SCTP},
		{name: "mixed case is read", in: "Tcp", want: TCP},
		{name: "a number is refused", in: "6", fails: true},
		{name: "a blank is refused", in: " tcp", fails: true},
		{name: "another protocol is refused", in: "icmp", fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseProto(tt.in)
			if (err != nil) != tt.fails {
				t.Fatalf("error %v, want one: %v", err, tt.fails)
			}
			if got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestProtoIsTextInJSON(t *testing.T) {
	for _, p := range []Proto{TCP, UDP, SCTP} {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if want := `"` + p.String() + `"`; string(b) != want {
			t.Errorf("got %s, want %s", b, want)
		}
		var back Proto
		if err := json.Unmarshal(b, &back); err != nil || back != p {
			t.Errorf("read back %v, %v, want %v", back, err, p)
		}
	}
	var p Proto
	if err := json.Unmarshal([]byte(`"proto-1"`), &p); err == nil {
		t.Error("an unknown protocol was read")
	}
	if got := Proto(1).String(); got != "proto-1" {
		t.Errorf("got %q, want proto-1", got)
	}
}

func TestFamily(t *testing.T) {
	for _, tt := range []struct {
		name, addr string
		want       Family
		bits       int
		wildcard   string
		text       string
	}{
		{"an IPv4 address is IPv4", "192.0.2.1", IPv4, 32, "0.0.0.0", "IPv4"},
		{"a v4-mapped address is IPv4", "::ffff:192.0.2.1", IPv4, 32, "0.0.0.0", "IPv4"},
		{"an IPv6 address is IPv6", "2001:db8::1", IPv6, 128, "::", "IPv6"},
		{"the IPv6 wildcard is IPv6", "::", IPv6, 128, "::", "IPv6"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := FamilyOf(netip.MustParseAddr(tt.addr))
			if f != tt.want {
				t.Fatalf("got %v, want %v", f, tt.want)
			}
			got := []any{f.Bits(), f.Wildcard().String(), f.String()}
			if diff := cmp.Diff([]any{tt.bits, tt.wildcard, tt.text}, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
