// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// A translated packet at FORWARD is for the pod, in state DNAT and leaves by the
// pod's link; what it was before is not known.
func TestForward(t *testing.T) {
	pod := netip.MustParseAddr("10.88.0.2")
	for rule, want := range map[string]string{
		"-d 10.88.0.2/32 -j DROP":                                "ends",
		"-d 10.88.0.3/32 -j DROP":                                "passes",
		"-p tcp -m tcp --dport 80 -j DROP":                       "ends",
		"-p tcp -m tcp --dport 8080 -j DROP":                     "passes",
		"-o cni0 -j DROP":                                        "ends",
		"-o docker0 -j DROP":                                     "passes",
		"-i eth0 -j DROP":                                        "may end",
		"-s 192.0.2.0/24 -j DROP":                                "may end",
		"-m addrtype --dst-type LOCAL -j DROP":                   "passes",
		"-m conntrack --ctstate DNAT -j ACCEPT":                  "ends",
		"-m conntrack --ctstate NEW -j ACCEPT":                   "ends",
		"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT":   "passes",
		"-m conntrack --ctorigdstport 8080 -j ACCEPT":            "may end",
		"-m conntrack --ctorigdst 192.0.2.1 -j ACCEPT":           "may end",
		"-m conntrack ! --ctorigdst 192.0.2.1/32 -j ACCEPT":      "may end",
		"-m mark --mark 0x4000/0x4000 -j ACCEPT":                 "passes",
		"-m conntrack --ctstate INVALID -j DROP":                 "passes",
		"-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j X": "passes",
	} {
		filter := parsed(t, hostport.IPv4, "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD "+strings.Replace(rule, "-j X", "-j DROP", 1)+"\nCOMMIT\n")
		w := New(filter, nft.Table{Family: nft.IPv4, Name: "filter"}, hostport.IPv4, Options{})
		r, err := w.Walk("FORWARD", Packet{Hook: Forward, Proto: hostport.TCP, Port: 80, Dst: addrset.Between(pod, pod), Out: "cni0"})
		got := "passes"
		switch {
		case err != nil:
			t.Fatal(err)
		case len(r.End) == 1 && r.End[0].Match == Yes:
			got = "ends"
		case len(r.End) == 1:
			got = "may end"
		}
		if got != want {
			t.Errorf("%s: it %s, want %s", rule, got, want)
		}
	}
}
