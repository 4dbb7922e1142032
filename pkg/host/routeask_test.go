// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/way"
)

// A question has the protocol and the ports if a rule asks for them, and is the same for all
// ports of a pod otherwise. The kernel takes none about SCTP.
func TestPortsOfARoute(t *testing.T) {
	q := way.Route{Dst: netip.MustParseAddr("10.88.0.2"), Proto: hostport.TCP, Sport: 7, Dport: 80}
	sctp := q
	sctp.Proto = hostport.SCTP
	bare := way.Route{Dst: q.Dst}
	yes, no := true, false
	for _, tt := range []struct {
		ported  *bool
		q, want way.Route
	}{{&yes, q, q}, {&no, q, bare}, {&yes, sctp, bare}} {
		if got, err := (&Router{ported: tt.ported}).as(tt.q); err != nil || got != tt.want {
			t.Errorf("%+v: %+v, %v", tt.q, got, err)
		}
	}
	sent := routeRequest(q, 3).Serialize()
	for _, attr := range []string{"\x05\x00\x1b\x00\x06", "\x06\x00\x1c\x00\x00\x07", "\x06\x00\x1d\x00\x00\x50", "\x08\x00\x03\x00\x03\x00\x00\x00"} {
		if !bytes.Contains(sent, []byte(attr)) {
			t.Errorf("% x is not in % x", attr, sent)
		}
	}
	if short := routeRequest(bare, 0).Serialize(); len(short) != unix.SizeofNlMsghdr+unix.SizeofRtMsg+8 {
		t.Errorf("a bare question: % x", short)
	}
}

// Rules ask for ports by a protocol, a destination port or a source port.
func TestRulesThatAskForPorts(t *testing.T) {
	rules := messages(t, realRules())
	for i, want := range map[int]bool{0: false, 1: true, 2: true, 3: false, 10: false} {
		if got, err := asksForPorts(rules[i : i+1]); got != want || err != nil {
			t.Errorf("rule %d: %v, %v", i, got, err)
		}
	}
	if _, err := asksForPorts([][]byte{{1}}); err == nil {
		t.Error("a rule that is cut off was read")
	}
}
