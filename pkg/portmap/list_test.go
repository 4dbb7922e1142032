// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// The rules are those of containernetworking/plugins v1.9.1.
const dump = `*nat
:PREROUTING ACCEPT [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-DN-1 - [0:0]
:CNI-DN-2 - [0:0]
[3:180] -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
[0:0] -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"abc\"" -m multiport --dports 8080,8081 -j CNI-DN-1
[0:0] -A CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"net\" id: \"abc\"" -m multiport --dports 53 -j CNI-DN-1
[0:0] -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "somebody else" -j CNI-DN-2
[0:0] -A CNI-DN-1 -s 10.88.0.0/16 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
[7:420] -A CNI-DN-1 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.88.0.2:80
[0:0] -A CNI-DN-1 -d 192.0.2.1/32 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 10.88.0.2:81
[0:0] -A CNI-DN-1 -p udp -m udp --dport 53 -j DNAT --to-destination 10.88.0.2:5353
[0:0] -A CNI-DN-2 -p tcp -m tcp --dport 1 -j DNAT --to-destination 10.88.0.9:1
COMMIT
`

func TestClaims(t *testing.T) {
	d, err := iptsave.Parse(dump)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range Claims(d, hostport.IPv4) {
		got = append(got, fmt.Sprintf("%s %s -> %s (%d)", c.Owner.Short(), c.Mapping, c.Target, c.Packets))
	}
	want := []string{
		"container abc (network net) 8080/tcp -> 10.88.0.2:80 (7)",
		"container abc (network net) 192.0.2.1:8081/tcp -> 10.88.0.2:81 (0)",
		"container abc (network net) 53/udp -> 10.88.0.2:5353 (0)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := Claims(nil, hostport.IPv4); got != nil {
		t.Errorf("of no dump: %v", got)
	}
}
