// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portguard/portguard/pkg/hostport"
)

const ipvsHeading = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
`

func TestParseIPVS(t *testing.T) {
	got, err := parseIPVS(strings.NewReader(ipvsHeading +
		"TCP  C0000201:0050 rr persistent 300 FFFFFFFF \n" +
		"  -> 0A580002:1F90      Masq    1      0          0         \n" +
		"  -> 0A580003:1F90      Route   1      12         3         \n" +
		"UDP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0035 rr \n" +
		"  -> [fd00:0088:0000:0000:0000:0000:0000:0002]:0035      Masq    1      0          0         \n" +
		"SCTP C0000203:0000 wlc ops \n" +
		"FWM  00000007 wlc \n" +
		"  -> 0A580004:0000      Masq    1      0          0         \n"))
	want := []hostport.VirtualServer{
		{Proto: hostport.TCP, Addr: netip.MustParseAddr("192.0.2.1"), Port: 80},
		{Proto: hostport.UDP, Addr: netip.MustParseAddr("2001:db8::1"), Port: 53},
		{Proto: hostport.SCTP, Addr: netip.MustParseAddr("192.0.2.3")},
		{Mark: 7},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if got, err := parseIPVS(strings.NewReader(ipvsHeading)); err != nil || len(got) > 0 {
		t.Errorf("without servers: %v %v", got, err)
	}
}

func badServers() []string {
	return []string{"TCP", "ICMP C0000201:0050 rr", "TCP  C0000201 rr", "TCP  C00002:0050 rr", "TCP  C0000201:10050 rr", "TCP  [2001::g]:0050 rr", "FWM  x wlc"}
}

// What is not understood is no free port.
func TestParseIPVSRefuses(t *testing.T) {
	for _, line := range badServers() {
		if got, err := parseIPVS(strings.NewReader(ipvsHeading + line + "\n")); err == nil {
			t.Errorf("%q was read as %v", line, got)
		}
	}
}
