// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

func attr(kind uint16, n uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, n)
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func TestDecodeDiag(t *testing.T) {
	only := sock(hostport.TCP, "::", 80, 1000, 4711)
	only.V6Only = true
	both := only
	both.V6Only = false
	for _, tt := range []struct {
		name string
		in   []byte
		want hostport.Listener
		says string
	}{
		{"an IPv4 socket is read", diagMsg(unix.AF_INET, "192.0.2.1", 443), sock(hostport.TCP, "192.0.2.1", 443, 1000, 4711), ""},
		{"one that is bound to a link has its number", boundTo(diagMsg(unix.AF_INET, "0.0.0.0", 443), 7), onDevice("7"), ""},
		{"an IPv6 socket is read", diagMsg(unix.AF_INET6, "2001:db8::1", 443), sock(hostport.TCP, "2001:db8::1", 443, 1000, 4711), ""},
		{"a v4-mapped address is IPv4", diagMsg(unix.AF_INET6, "::ffff:192.0.2.1", 443), sock(hostport.TCP, "192.0.2.1", 443, 1000, 4711), ""},
		{"V6ONLY is read", diagMsg(unix.AF_INET6, "::", 80, attr(attrV6Only, 5, 1)...), only, ""},
		{"V6ONLY may be off", diagMsg(unix.AF_INET6, "::", 80, attr(attrV6Only, 5, 0)...), both, ""},
		{"V6ONLY is found behind others", diagMsg(unix.AF_INET6, "::", 80, append(attr(8, 5, 1), attr(attrV6Only, 5, 1)...)...), only, ""},
		{"other attributes do not matter", diagMsg(unix.AF_INET6, "::", 80, attr(8, 5, 1)...), both, ""},
		{"an attribute without padding at the end is read", diagMsg(unix.AF_INET6, "::", 80, attr(attrV6Only, 5, 1)[:5]...), only, ""},
		{"a cut message is an error", diagMsg(unix.AF_INET, "0.0.0.0", 80)[:71], hostport.Listener{}, "cut off: a message of"},
		{"an empty message is an error", nil, hostport.Listener{}, "cut off: a message of"},
		{"an attribute longer than the rest is an error", diagMsg(unix.AF_INET6, "::", 80, attr(attrV6Only, 9, 1)...), hostport.Listener{}, "attribute has 9 bytes, and 8 are left"},
		{"an attribute shorter than its head is an error", diagMsg(unix.AF_INET6, "::", 80, attr(attrV6Only, 3, 1)...), hostport.Listener{}, "attribute has 3 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeDiag(hostport.TCP, tt.in)
			if (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error is %v, want %q", err, tt.says)
			}
			if diff := cmp.Diff([]hostport.Listener{tt.want}, got, compare()); err == nil && diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// An endpoint of SCTP may have many addresses, of which the first is the one of the message.
func TestDecodeDiagOfManyAddresses(t *testing.T) {
	at := func(family byte, off int, addr string) []byte {
		b := make([]byte, sockaddrLen)
		binary.NativeEndian.PutUint16(b, uint16(family))
		copy(b[off:], netip.MustParseAddr(addr).AsSlice())
		return b
	}
	locals := slices.Concat(at(unix.AF_INET, 4, "127.0.0.1"), at(unix.AF_INET, 4, "192.0.2.1"), at(unix.AF_INET6, 8, "2001:db8::1"))
	got, err := decodeDiag(hostport.SCTP, diagMsg(unix.AF_INET6, "::ffff:127.0.0.1", 443, attr(attrLocals, uint16(4+len(locals)), locals...)...))
	want := []hostport.Listener{sock(hostport.SCTP, "127.0.0.1", 443, 1000, 4711), sock(hostport.SCTP, "192.0.2.1", 443, 1000, 4711), sock(hostport.SCTP, "2001:db8::1", 443, 1000, 4711)}
	if diff := cmp.Diff(want, got, compare()); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestDiagRequest(t *testing.T) {
	for p, state := range map[hostport.Proto]uint32{hostport.TCP: 1 << 10, hostport.SCTP: 1 << 10, hostport.UDP: 1 << 7} {
		b := diagRequest(unix.AF_INET6, p, waiting(p), 8080)
		got := []any{len(b), b[0], b[1], binary.NativeEndian.Uint32(b[4:]), binary.BigEndian.Uint16(b[8:])}
		want := []any{56, byte(unix.AF_INET6), byte(p), state, uint16(8080)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", p, diff)
		}
	}
}
